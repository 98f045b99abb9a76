import { createContext, createRandom } from '@q/core';
import { createDecoder, createRuntime, describeModel } from '@q/models';
import { createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { drawToken, type SelfGeneratedOptions, selfGeneratedWindows } from './self-generated.js';

/** A model of 16 tokens whose next token depends on the last one alone: logits drawn once. */
const vocabularySize = 16;
const table = (() => {
  const random = createRandom('table');
  return Array.from({ length: vocabularySize }, () =>
    Float32Array.from({ length: vocabularySize }, () => 1.5 * random.normal()),
  );
})();
const writer = {
  ops: { data: async (x: Float32Array) => x, dispose() {} } as never,
  vocabularySize,
  decoder: () => ({
    append: (ids: Int32Array) => Float32Array.from([...ids].flatMap((id) => [...table[id]])),
    dispose() {},
  }),
};
const write = (options: SelfGeneratedOptions, seed: number | string = 7) =>
  selfGeneratedWindows<Float32Array>(writer, options, createContext({ seed }));
const likeliest = (id: number) => table[id].indexOf(Math.max(...table[id]));

describe('text that a model writes itself', () => {
  it('begins with every token of the vocabulary and takes the likeliest up to 3, 4 and 5 tokens', async () => {
    const { ids, count, length } = await write({ count: 3 * vocabularySize, length: 8, batch: 5 });
    expect([count, length]).toEqual([48, 8]);
    const rows = Array.from({ length: count }, (_, i) => ids.subarray(8 * i, 8 * (i + 1)));
    for (let turn = 0; turn < 3; turn++)
      expect(new Set(rows.slice(16 * turn, 16 * (turn + 1)).map(([first]) => first)).size).toBe(16);
    const greedyLength = (row: Int32Array) => {
      let taken = 1;
      while (taken < 8 && row[taken] === likeliest(row[taken - 1])) taken++;
      return taken;
    };
    // With each first token, the three prefixes are of the three lengths; drawn tokens may happen to be the likeliest, too.
    for (let first = 0; first < 16; first++) {
      const [a, b, c] = rows
        .filter((row) => row[0] === first)
        .map(greedyLength)
        .sort();
      expect(a).toBeGreaterThanOrEqual(3);
      expect(b).toBeGreaterThanOrEqual(4);
      expect(c).toBeGreaterThanOrEqual(5);
    }
  });

  it('puts the opening of the tokenizer before each window', async () => {
    const { ids } = await write({ count: 2 * vocabularySize, length: 10, opening: [3, 5] });
    const rows = Array.from({ length: 2 * vocabularySize }, (_, i) => [...ids.subarray(10 * i, 10 * (i + 1))]);
    for (const [a, b, first, second, third] of rows) {
      expect([a, b]).toEqual([3, 5]);
      expect([second, third]).toEqual([likeliest(first), likeliest(second)]);
    }
    expect(new Set(rows.slice(0, vocabularySize).map((row) => row[2])).size).toBe(vocabularySize);
  });

  it('draws from the softmax of the logits', async () => {
    const { ids } = await write({ count: 400, length: 60 });
    const counts = Array.from({ length: vocabularySize }, () => new Float64Array(vocabularySize));
    for (let row = 0; row < 400; row++) for (let i = 5; i < 60; i++) counts[ids[60 * row + i - 1]][ids[60 * row + i]]++;
    // Chi-square of each row against its distribution: 15 degrees of freedom, 0.01 % is 44.3.
    for (const [id, row] of counts.entries()) {
      const total = row.reduce((a, b) => a + b);
      const powers = [...table[id]].map(Math.exp);
      const sum = powers.reduce((a, b) => a + b);
      const chi = row.reduce(
        (acc, n, i) => acc + (n - (total * powers[i]) / sum) ** 2 / ((total * powers[i]) / sum),
        0,
      );
      expect(total).toBeGreaterThan(100);
      expect(chi).toBeLessThan(44.3);
    }
  });

  it('does not depend on the batch, and goes on where it stopped', async () => {
    const saved = new Map<number, Int32Array>();
    const whole = await write({
      ...{ count: 10, length: 12, batch: 4 },
      onBatch: async (first, windows) => {
        for (const [i, window] of windows.entries()) saved.set(first + i, window.slice());
      },
    });
    expect((await write({ count: 10, length: 12, batch: 10 })).ids).toEqual(whole.ids);
    expect(saved.size).toBe(10);
    for (const index of [8, 9]) saved.delete(index);
    const written: number[] = [];
    const resumed = await write({
      ...{ count: 10, length: 12, batch: 4, finished: saved },
      onBatch: async (first) => void written.push(first),
    });
    expect(written).toEqual([8]);
    expect(resumed.ids).toEqual(whole.ids);
    expect((await write({ count: 10, length: 12 }, 8)).ids).not.toEqual(whole.ids);
  });

  it('is interrupted between tokens', async () => {
    const stop = new AbortController();
    const context = createContext({
      signal: stop.signal,
      progress: ({ done }) => {
        if (done > 6) stop.abort();
      },
    });
    await expect(selfGeneratedWindows<Float32Array>(writer, { count: 2, length: 100 }, context)).rejects.toThrow();
  });

  it('takes the ends of the distribution', () => {
    expect(drawToken(Float32Array.of(0, 0, Number.NEGATIVE_INFINITY), 0)).toBe(0);
    expect(drawToken(Float32Array.of(0, 0, Number.NEGATIVE_INFINITY), 0.5)).toBe(1);
    expect(drawToken(Float32Array.of(0, 0, Number.NEGATIVE_INFINITY), 1 - 2 ** -53)).toBe(1);
  });

  it('comes out of a real forward pass with a cache', async () => {
    const config = { model_type: 'opt', hidden_size: 16, ffn_dim: 24, num_hidden_layers: 2, num_attention_heads: 2 };
    const model = describeModel({ ...config, vocab_size: 40, max_position_embeddings: 32 });
    const engine = await createEngine({ backend: 'cpu' });
    const random = createRandom(3);
    const weights = new Map(
      [...model.expected].map(([name, shape]) => {
        const size = shape.reduce((a, b) => a * b, 1);
        const values = Float32Array.from({ length: size }, () => random.normal() * 0.5);
        return [name, engine.ops.fromF32(values, shape)];
      }),
    );
    const runtime = createRuntime(engine.ops, weights, { ties: model.ties });
    const { ids } = await selfGeneratedWindows(
      { ops: engine.ops, vocabularySize: 40, decoder: (batch) => createDecoder(model, runtime, batch) },
      { count: 3, length: 16 },
      createContext(),
    );
    expect(ids.every((id) => id >= 0 && id < 40)).toBe(true);
    expect(new Set(ids).size).toBeGreaterThan(5);
    await engine.dispose();
  });
});
