import { createRandom, type Kernels, referenceKernels, tensor } from '@q/core';
import { describe, expect, it } from 'vitest';
import { evaluate } from './evaluate.js';
import { layerError } from './layer-error.js';
import type { LogitsSource } from './logits-source.js';

const [count, length, vocabulary] = [5, 4, 7];
const random = createRandom('evaluate');
const windows = { ids: Int32Array.from({ length: count * length }, () => random.integer(vocabulary)), count, length };

function source(spread: number, offset = 0): LogitsSource {
  const all = Float32Array.from({ length: count * length * vocabulary }, () => offset + spread * random.normal());
  const size = length * vocabulary;
  return { vocabularySize: vocabulary, logits: async (first, many) => all.slice(first * size, (first + many) * size) };
}

/** Probabilities of a row in f64, from the definition. */
async function probabilities(model: LogitsSource, window: number, position: number): Promise<number[]> {
  const row = [...(await model.logits(window, 1)).slice(position * vocabulary, (position + 1) * vocabulary)];
  const sum = row.reduce((total, x) => total + Math.exp(x), 0);
  return row.map((x) => Math.exp(x) / sum);
}

describe('evaluate', () => {
  it('is the mean over positions 1..length-1 of the definitions of NLL and KL', async () => {
    const [model, original] = [source(2), source(1)];
    let [nll, kl, agree] = [0, 0, 0];
    const each: number[] = [];
    for (let window = 0; window < count; window++) {
      for (let position = 0; position < length - 1; position++) {
        const q = await probabilities(model, window, position);
        const p = await probabilities(original, window, position);
        nll -= Math.log(q[windows.ids[window * length + position + 1]]);
        each.push(p.reduce((sum, x, i) => sum + x * Math.log(x / q[i]), 0));
        kl += each.at(-1) as number;
        if (p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q))) agree++;
      }
    }
    const tokens = count * (length - 1);
    const found = await evaluate(model, windows, { against: original, batch: 2 });
    expect(found.tokens).toBe(tokens);
    expect(found.nll).toBeCloseTo(nll / tokens, 6);
    expect(found.perplexity).toBeCloseTo(Math.exp(nll / tokens), 5);
    expect(found.kl).toBeCloseTo(kl / tokens, 6);
    // 99 and 99.9 of 100 among 15 tokens: the largest one.
    expect(found.klP99).toBeCloseTo(Math.max(...each), 6);
    expect(found.klP999).toBe(found.klP99);
    expect(found.topAgreement).toBeCloseTo(agree / tokens, 12);
    expect(await evaluate(model, windows, { against: original, batch: 3 })).toEqual(found);
  });

  it('has KL 0 against itself, and does not overflow on large logits', async () => {
    const model = source(3, 4e4);
    const found = await evaluate(model, windows, { against: model });
    expect(found.kl).toBe(0);
    expect(found.topAgreement).toBe(1);
    expect(Number.isFinite(found.perplexity)).toBe(true);
  });

  it('gives the vocabulary size as the perplexity of even logits', async () => {
    const even = {
      vocabularySize: vocabulary,
      logits: async (_: number, many: number) => new Float32Array(many * length * vocabulary),
    };
    expect((await evaluate(even, windows)).perplexity).toBeCloseTo(vocabulary, 10);
  });

  it('takes fewer windows at a time when their logits would take more than 256 MB', async () => {
    const wide = 2 ** 24;
    const asked: number[][] = [];
    const none = new Float64Array(length);
    const kernels: Kernels = {
      ...referenceKernels,
      scoreLogits: async () => ({ logs: none, tops: new Int32Array(length) }),
    };
    // Untouched memory costs nothing: 268 MB of zeros for each window.
    const large: LogitsSource = {
      vocabularySize: wide,
      logits: async (first, many) => {
        asked.push([first, many]);
        return new Float32Array(many * length * wide);
      },
    };
    await evaluate(large, { ...windows, ids: windows.ids.subarray(0, 2 * length), count: 2 }, { kernels });
    expect(asked).toEqual([
      [0, 1],
      [1, 1],
    ]);
  });

  it('refuses NaN logits and other vocabularies', async () => {
    const broken = {
      vocabularySize: vocabulary,
      logits: async (_: number, many: number) => new Float32Array(many * length * vocabulary).fill(Number.NaN),
    };
    await expect(evaluate(broken, windows)).rejects.toThrow('not finite');
    await expect(evaluate(source(1), windows, { against: { ...source(1), vocabularySize: 8 } })).rejects.toThrow(
      'vocabularies of 7 and 8',
    );
  });
});

describe('layerError', () => {
  it('is the relative error on the inputs themselves', () => {
    const [rows, columns, tokens] = [3, 4, 6];
    const normals = (n: number) => Float32Array.from({ length: n }, () => random.normal());
    const [w, q, x] = [normals(rows * columns), normals(rows * columns), normals(tokens * columns)];
    const hessian = new Float64Array(columns * columns);
    let [error, norm] = [0, 0];
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < columns; i++)
        for (let j = 0; j < columns; j++) hessian[i * columns + j] += x[t * columns + i] * x[t * columns + j];
      for (let row = 0; row < rows; row++) {
        let [d, y] = [0, 0];
        for (let j = 0; j < columns; j++) {
          d += (w[row * columns + j] - q[row * columns + j]) * x[t * columns + j];
          y += w[row * columns + j] * x[t * columns + j];
        }
        error += d * d;
        norm += y * y;
      }
    }
    const found = layerError(tensor('f32', [rows, columns], w), tensor('f32', [rows, columns], q), hessian);
    expect(found.relative).toBeCloseTo(error / norm, 8);
    expect(found.maxAbs).toBeCloseTo(Math.max(...[...w].map((value, i) => Math.abs(value - q[i]))), 6);
    expect(() =>
      layerError(tensor('f32', [1, 2], w.slice(0, 2)), tensor('f32', [2, 1], q.slice(0, 2)), hessian),
    ).toThrow('do not fit');
  });
});
