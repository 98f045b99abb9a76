import { bruteForce as brute, opsConformance, rotaryTable } from '@q/conformance';
import { type DifferentiableOps, ShapeError } from '@q/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TfjsEngine } from './engine.js';
import type { Handle } from './handle.js';
import { createEngine } from './node-engine.js';
import { testedBackends } from './testing/backends.js';
import { largestDifference, normals } from './testing/values.js';

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

  for (const { name, run: check } of opsConformance) it(name, () => check(ops));

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
