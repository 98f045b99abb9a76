import { bruteForce } from '@q/conformance';
import { type Kernels, type MatmulArgs, referenceKernels } from '@q/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TfjsEngine } from './engine.js';
import { loadWasm } from './load-node.js';
import { createEngine } from './node-engine.js';

import { largestDifference, normals } from './testing/values.js';

/** A straight f64 product in place of fast kernels, which notes what it was asked for. */
function recordingKernels(): { kernels: Kernels; calls: MatmulArgs[] } {
  const calls: MatmulArgs[] = [];
  const matmul = (args: MatmulArgs): Float32Array => {
    calls.push(args);
    const { a, b, m, n, k, transposeA, transposeB, accumulate } = args;
    const out = args.out ?? new Float32Array(m * n);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = accumulate ? out[i * n + j]! : 0;
        for (let l = 0; l < k; l++) {
          sum += (transposeA ? a[l * m + i]! : a[i * k + l]!) * (transposeB ? b[j * k + l]! : b[l * n + j]!);
        }
        out[i * n + j] = sum;
      }
    }
    return out;
  };
  const sync = { matmul, matmulInt8: () => new Int32Array() };
  return { kernels: { ...referenceKernels, name: 'recording', sync }, calls };
}

async function bothEngines(): Promise<{ plain: TfjsEngine; routed: TfjsEngine; calls: MatmulArgs[] }> {
  const { kernels, calls } = recordingKernels();
  const plain = await createEngine({ backend: 'wasm' });
  const routed = await createEngine({ backend: 'wasm', kernels, minimumWork: 1000 });
  return { plain, routed, calls };
}

describe('matrix products on wasm', () => {
  it('agree with a plain product for every shape, batch and transpose', async () => {
    const { plain, routed } = await bothEngines();
    // The registered kernels are what tf.matMul reaches; the operations have no bare product.
    const { tf } = loadWasm();
    const size = fc.integer({ min: 1, max: 24 });
    const batches = fc.constantFrom(
      [[], []],
      [[3], [3]],
      [[1], [4]],
      [[4], [1]],
      [
        [2, 3],
        [2, 3],
      ],
      [[2, 3], []],
    );
    fc.assert(
      fc.property(
        size,
        size,
        size,
        batches,
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        (m, n, k, batch, tA, tB, fast) => {
          const engine = fast ? routed : plain;
          const shapeA = [...batch[0]!, ...(tA ? [k, m] : [m, k])];
          const shapeB = [...batch[1]!, ...(tB ? [n, k] : [k, n])];
          const [a, b] = [normals(count(shapeA), 'a'), normals(count(shapeB), 'b')];
          const held = engine.memory().tensors;
          // Any operation makes the engine the active one.
          engine.ops.dispose(engine.ops.fromF32(Float32Array.of(1), [1]));
          const product = tf.tidy(() => tf.matMul(tf.tensor(a, shapeA), tf.tensor(b, shapeB), tA, tB));
          const expected = bruteProduct(a, shapeA, tA, b, shapeB, tB);
          expect(product.shape).toEqual(expected.shape);
          expect(largestDifference(product.dataSync(), expected.values)).toBeLessThan(2e-5);
          product.dispose();
          expect(engine.memory().tensors).toBe(held);
        },
      ),
      { numRuns: 150, seed: 1 },
    );
  });

  it('refuse batches that broadcast on both sides', async () => {
    await createEngine({ backend: 'wasm' });
    const { tf } = loadWasm();
    expect(() => tf.tidy(() => tf.matMul(tf.ones([2, 1, 3, 4]), tf.ones([1, 3, 4, 2])))).toThrow(
      /batches must be equal/,
    );
  });

  it('go to the kernels from the threshold on, without transposing or copying', async () => {
    const { plain, routed, calls } = await bothEngines();
    expect(routed.notes).toContain('matrix products by the kernels "recording"');
    const [x, weight, bias] = [normals(20 * 16, 'x'), normals(12 * 16, 'w'), normals(12, 'b')];
    const product = (engine: TfjsEngine, rows: number) => {
      const { ops } = engine;
      const y = ops.scope(() =>
        ops.linear(
          ops.fromF32(Float32Array.from(x.slice(0, rows * 16)), [rows, 16]),
          ops.fromF32(Float32Array.from(weight), [12, 16]),
          ops.fromF32(Float32Array.from(bias), [12]),
        ),
      );
      const values = ops.dataSync(y);
      ops.dispose(y);
      return values;
    };
    const expected = bruteForce.linear(x, weight, bias, 16);
    expect(largestDifference(product(routed, 20), expected)).toBeLessThan(1e-5);
    expect(calls.map(({ m, n, k, transposeB }) => ({ m, n, k, transposeB }))).toEqual([
      { m: 20, n: 12, k: 16, transposeB: true },
    ]);
    // Below the threshold, and on an engine without kernels, tfjs computes.
    expect(largestDifference(product(routed, 2), expected.slice(0, 24))).toBeLessThan(1e-5);
    expect(largestDifference(product(plain, 20), expected)).toBeLessThan(1e-5);
    expect(calls.length).toBe(1);
  });

  it('stay with tfjs when the kernels are the reference, which is slower', async () => {
    const engine = await createEngine({ backend: 'wasm', kernels: referenceKernels });
    expect(engine.notes.join()).toContain('the reference kernels are slower');
  });

  it('says so when the kernels have no synchronous product', async () => {
    const asynchronous = { ...referenceKernels, name: 'far away', sync: undefined };
    const engine = await createEngine({ backend: 'wasm', kernels: asynchronous });
    expect(engine.notes.join()).toContain('"far away" have no synchronous product');
  });
});

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function bruteProduct(
  a: readonly number[],
  shapeA: number[],
  tA: boolean,
  b: readonly number[],
  shapeB: number[],
  tB: boolean,
) {
  const rank = Math.max(shapeA.length, shapeB.length) - 2;
  const padded = (shape: number[]) => [...new Array<number>(rank + 2 - shape.length).fill(1), ...shape];
  const [fullA, fullB] = [padded(shapeA), padded(shapeB)];
  const outer = fullA.slice(0, -2).map((size, axis) => Math.max(size, fullB[axis]!));
  const [m, k] = tA ? [fullA.at(-1)!, fullA.at(-2)!] : [fullA.at(-2)!, fullA.at(-1)!];
  const n = tB ? fullB.at(-2)! : fullB.at(-1)!;
  const values: number[] = [];
  for (let batch = 0; batch < count(outer); batch++) {
    let rest = batch;
    const place = outer.map((_, axis) => {
      const inner = count(outer.slice(axis + 1));
      const index = Math.floor(rest / inner);
      rest %= inner;
      return index;
    });
    const offset = (full: number[]) =>
      place.reduce((sum, index, axis) => sum * full[axis]! + (full[axis] === 1 ? 0 : index), 0) *
      full.at(-1)! *
      full.at(-2)!;
    const [startA, startB] = [offset(fullA), offset(fullB)];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++) {
          sum += a[startA + (tA ? l * m + i : i * k + l)]! * b[startB + (tB ? j * k + l : l * n + j)]!;
        }
        values.push(sum);
      }
    }
  }
  return { shape: [...outer, m, n], values };
}
