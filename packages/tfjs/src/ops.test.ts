import { type Activation, type DifferentiableOps, fromF32, type RotaryTable, ShapeError } from '@q/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TfjsEngine } from './engine.js';
import type { Handle } from './handle.js';
import { createEngine } from './node-engine.js';
import { testedBackends } from './testing/backends.js';
import * as brute from './testing/brute-force.js';
import { largestDifference, normals } from './testing/values.js';

function rotaryTable(positions: number, headDim: number, theta: number): RotaryTable {
  const half = headDim / 2;
  const angles = Array.from(
    { length: positions * half },
    (_, i) => Math.floor(i / half) * theta ** (-(i % half) / half),
  );
  return {
    cos: Float32Array.from(angles, Math.cos),
    sin: Float32Array.from(angles, Math.sin),
    positions,
    headDim,
  };
}

/** Tokens `from..to` of each of two sequences of 9. */
const splitRows = (values: readonly number[], width: number, from: number, to: number): number[] =>
  [0, 1].flatMap((row) => values.slice((9 * row + from) * width, (9 * row + to) * width));

describe.each(testedBackends)('operations on %s', (backend) => {
  let engine: TfjsEngine;
  let ops: DifferentiableOps<Handle>;
  beforeAll(async () => {
    engine = await createEngine({ backend });
    ops = engine.ops;
  });
  afterAll(() => engine.dispose());

  const upload = (values: readonly number[], shape: readonly number[]) => ops.fromF32(Float32Array.from(values), shape);
  const run = (f: () => Handle) => {
    const x = ops.scope(f);
    const values = ops.dataSync(x);
    ops.dispose(x);
    return values;
  };

  it('uploads narrow floats as f32', () => {
    const values = Float32Array.of(1, -0.5, 3, 0.25);
    expect(run(() => ops.fromTensor(fromF32('bf16', [2, 2], values)))).toEqual(values);
  });

  it.each([
    ['with a bias', true],
    ['without', false],
  ])('linear %s, over any leading axes', (_, withBias) => {
    const [x, weight, bias] = [normals(2 * 3 * 37, 'x'), normals(41 * 37, 'w'), normals(41, 'b')];
    const actual = run(() => {
      const y = ops.linear(upload(x, [2, 3, 37]), upload(weight, [41, 37]), withBias ? upload(bias, [41]) : undefined);
      expect(ops.shape(y)).toEqual([2, 3, 41]);
      return y;
    });
    expect(largestDifference(actual, brute.linear(x, weight, withBias ? bias : undefined, 37))).toBeLessThan(1e-5);
  });

  it('normalizes', () => {
    const [x, gain, bias] = [normals(6 * 24, 'x'), normals(24, 'g'), normals(24, 'b')];
    const rms = run(() => ops.rmsNorm(upload(x, [2, 3, 24]), upload(gain, [24]), 1e-5));
    expect(largestDifference(rms, brute.normalize(x, gain, undefined, 1e-5, false))).toBeLessThan(3e-6);
    const layer = run(() => ops.layerNorm(upload(x, [2, 3, 24]), upload(gain, [24]), upload(bias, [24]), 1e-5));
    expect(largestDifference(layer, brute.normalize(x, gain, bias, 1e-5, true))).toBeLessThan(3e-6);
    const plain = run(() => ops.layerNorm(upload(x, [2, 3, 24]), upload(gain, [24]), undefined, 1e-5));
    expect(largestDifference(plain, brute.normalize(x, gain, undefined, 1e-5, true))).toBeLessThan(3e-6);
  });

  it.each(['relu', 'silu', 'gelu', 'geluTanh', 'sigmoid'] as Activation[])('activation %s', (kind) => {
    const x = [...normals(200, 'x'), 0, -4, 4, 1e-6];
    const actual = run(() => ops.activation(kind, upload(x, [x.length])));
    expect(largestDifference(actual, x.map(brute.activations[kind]))).toBeLessThan(2e-6);
  });

  it('softmax over the last axis, rows gathered and scattered back', () => {
    const x = normals(2 * 3 * 7, 'x');
    expect(
      largestDifference(
        run(() => ops.softmax(upload(x, [2, 3, 7]))),
        brute.softmax(x, 7),
      ),
    ).toBeLessThan(1e-6);
    const ids = [5, 1, 5, 0, 5, 3];
    const actual = run(() => {
      const y = ops.scatterRows(upload(x, [6, 7]), Int32Array.from(ids), 8);
      expect(ops.shape(y)).toEqual([8, 7]);
      return y;
    });
    expect(largestDifference(actual, brute.scatterRows(x, ids, 8, 7))).toBeLessThan(1e-6);
    expect(() => run(() => ops.scatterRows(upload(x, [6, 7]), Int32Array.from(ids), 5))).toThrow('id 5 at position 0');
    expect(() => run(() => ops.scatterRows(upload(x, [6, 7]), Int32Array.of(1), 5))).toThrow('1 ids for 6 rows');
  });

  it('rotates halves', () => {
    const [length, heads, headDim] = [5, 3, 8];
    const x = normals(2 * length * heads * headDim, 'x');
    const table = rotaryTable(16, headDim, 10000);
    const actual = run(() => ops.rotary(upload(x, [2, length, heads * headDim]), heads, table));
    expect(largestDifference(actual, brute.rotary(x, length, heads, headDim, 10000))).toBeLessThan(2e-6);
    expect(() =>
      run(() => ops.rotary(upload(x, [1, 2 * length, heads * headDim]), heads, rotaryTable(4, 8, 1))),
    ).toThrow(ShapeError);
  });

  it.each([
    { batch: 2, length: 7, heads: 4, kvHeads: 4, headDim: 8, scale: 0.35 },
    { batch: 2, length: 7, heads: 6, kvHeads: 2, headDim: 4, scale: 0.5 },
    { batch: 1, length: 9, heads: 4, kvHeads: 1, headDim: 8, scale: 0.35, window: 3 },
    // More scores than are computed at once.
    { batch: 2, length: 600, heads: 4, kvHeads: 2, headDim: 2, scale: 0.7 },
    { batch: 3, length: 1, heads: 2, kvHeads: 2, headDim: 4, scale: 0.5, window: 8 },
  ])('attention %j', (c) => {
    const { batch, length, heads, kvHeads, headDim } = c;
    const tokens = batch * length;
    const q = normals(tokens * heads * headDim, 'q');
    const k = normals(tokens * kvHeads * headDim, 'k');
    const v = normals(tokens * kvHeads * headDim, 'v');
    const actual = run(() =>
      ops.attention({
        ...c,
        q: upload(q, [batch, length, heads * headDim]),
        k: upload(k, [batch, length, kvHeads * headDim]),
        v: upload(v, [batch, length, kvHeads * headDim]),
      }),
    );
    expect(largestDifference(actual, brute.attention(q, k, v, c))).toBeLessThan(3e-6);
  });

  it.each([
    { queries: 1, window: undefined },
    { queries: 3, window: undefined },
    { queries: 1, window: 4 },
    { queries: 2, window: 4 },
  ])('attention of the last $queries of 9 tokens, window $window', ({ queries, window }) => {
    const c = { batch: 2, length: 9, heads: 4, kvHeads: 2, headDim: 4, scale: 0.5, window };
    const [q, k, v] = [normals(2 * 9 * 16, 'q'), normals(2 * 9 * 8, 'k'), normals(2 * 9 * 8, 'v')];
    const last = (values: readonly number[]) =>
      [0, 1].flatMap((row) => values.slice((9 * row + 9 - queries) * 16, 9 * (row + 1) * 16));
    const actual = run(() =>
      ops.attention({
        ...c,
        q: upload(last(q), [2, queries, 16]),
        k: ops.append(upload(splitRows(k, 8, 0, 5), [2, 5, 8]), upload(splitRows(k, 8, 5, 9), [2, 4, 8])),
        v: upload(v, [2, 9, 8]),
      }),
    );
    expect(largestDifference(actual, last(brute.attention(q, k, v, c)))).toBeLessThan(3e-6);
  });

  it('rotates from a position on', () => {
    const table = rotaryTable(16, 8, 10000);
    const x = normals(6 * 24, 'x');
    const whole = brute.rotary(x, 6, 3, 8, 10000);
    const actual = run(() => ops.rotary(upload(x.slice(4 * 24), [1, 2, 24]), 3, table, 4));
    expect(largestDifference(actual, whole.slice(4 * 24))).toBeLessThan(2e-6);
  });

  it('transposes the last two axes', () => {
    const actual = run(() => {
      const y = ops.transpose(upload([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 3, 2]));
      expect(ops.shape(y)).toEqual([2, 2, 3]);
      return y;
    });
    expect([...actual]).toEqual([1, 3, 5, 2, 4, 6, 7, 9, 11, 8, 10, 12]);
  });

  it('embeds, slices, splits, reshapes, adds, multiplies', () => {
    const table = Array.from({ length: 12 }, (_, i) => i);
    expect([...run(() => ops.embed(upload(table, [4, 3]), Int32Array.of(3, 0), 1, 2))]).toEqual([9, 10, 11, 0, 1, 2]);
    expect(() => run(() => ops.embed(upload(table, [4, 3]), Int32Array.of(0, 4), 1, 2))).toThrow(/id 4 at position 1/);
    expect([...run(() => ops.rows(upload(table, [4, 3]), 1, 2))]).toEqual([3, 4, 5, 6, 7, 8]);
    expect([...run(() => ops.split(upload(table, [4, 3]), [1, 2])[1]!)]).toEqual([1, 2, 4, 5, 7, 8, 10, 11]);
    const sum = run(() => {
      const a = upload([1, 2, 3, 4], [2, 2]);
      return ops.reshape(ops.scale(ops.mul(ops.add(a, upload([10, 20], [2])), a), 2), [4]);
    });
    expect([...sum]).toEqual([22, 88, 78, 192]);
  });

  it('cross entropy ignores -1', () => {
    const logits = normals(5 * 11, 'l').map((x) => Math.fround(x * 20));
    const targets = [3, -1, 10, 0, -1];
    const actual = run(() => ops.crossEntropy(upload(logits, [5, 11]), Int32Array.from(targets)));
    expect(largestDifference(actual, [brute.crossEntropy(logits, targets, 11)])).toBeLessThan(1e-5);
    expect(() => run(() => ops.crossEntropy(upload(logits, [5, 11]), Int32Array.of(1, 2, 3, 4, 11)))).toThrow(
      ShapeError,
    );
  });

  it('holds nothing after a scope, whatever ran in it', () => {
    const once = () =>
      run(() => {
        const x = upload(normals(2 * 4 * 8, 'x'), [2, 4, 8]);
        const weight = upload(normals(64, 'w'), [8, 8]);
        const y = ops.rotary(ops.linear(ops.rmsNorm(x, upload(normals(8, 'g'), [8]), 1e-5), weight), 2, table);
        const mixed = ops.attention({ q: y, k: y, v: x, heads: 2, kvHeads: 2, headDim: 4, scale: 0.5 });
        const { gradients } = ops.valueAndGradients(
          (w) => ops.crossEntropy(ops.reshape(ops.linear(mixed, w['weight']!), [8, 8]), new Int32Array(8).fill(2)),
          { weight },
        );
        return gradients['weight']!;
      });
    const table = rotaryTable(8, 4, 10000);
    once();
    const before = engine.memory();
    for (let i = 0; i < 5; i++) once();
    expect(engine.memory()).toEqual(before);
  });
});
