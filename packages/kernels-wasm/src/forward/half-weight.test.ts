import { createRandom, encodeBf16, encodeF16, type HalfMatrix, QuantError, ShapeError, tensor, toF32 } from '@q/core';
import { afterAll, describe, expect, it } from 'vitest';
import { createForwardEngine } from './forward-engine.js';

const random = createRandom('weights of 16 bits');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

const levels = (['relaxed', 'simd128'] as const).flatMap((simd) => [1, 3].map((threads) => ({ simd, threads })));
// Whole panels of 32 outputs and others; less than a block of 256 inputs, and several.
const shapes = [
  [64, 256],
  [32, 8],
  [77, 300],
  [5, 1],
] as const;
const dtypes = [
  { dtype: 'bf16', encode: encodeBf16 },
  { dtype: 'f16', encode: encodeF16 },
] as const;

/** A matrix in memory. */
const matrixOf = (dtype: HalfMatrix['dtype'], shape: HalfMatrix['shape'], data: Uint16Array): HalfMatrix => ({
  dtype,
  shape,
  rows: async (first, end) => data.subarray(first * shape[1], end * shape[1]),
});

describe.each(levels)('a weight of 16 bits, $simd, $threads threads', async ({ simd, threads }) => {
  const engine = await createForwardEngine({ simd, threads });
  const { ops, memory } = engine;
  afterAll(() => engine.dispose());

  describe.each(dtypes)('$dtype', ({ dtype, encode }) => {
    it.each(shapes)('[%i, %i] gives sums of f64, and the bits of the same weight in f32', async (out, inputs) => {
      const before = memory();
      const values = normals(out * inputs);
      // Zeros of both signs, and the least number of f16 that is not zero.
      values.set([0, -0, 2 ** -24]);
      const patterns = encode(values);
      const dense = toF32(tensor(dtype, [out, inputs], patterns));
      const half = await engine.halfWeight!(matrixOf(dtype, [out, inputs], patterns));
      const full = ops.fromF32(dense, [out, inputs]);
      const bias = normals(out);
      for (const tokens of [1, 2, 4, 21])
        for (const added of [undefined, ops.fromF32(bias, [out])]) {
          const x = normals(tokens * inputs);
          const [found, same] = [half, full].map((weight) => {
            const y = ops.scope(() => ops.linear(ops.fromF32(x, [1, tokens, inputs]), weight, added));
            expect(ops.shape(y)).toEqual([1, tokens, out]);
            const data = ops.dataSync(y);
            ops.dispose(y);
            return data;
          }) as [Float32Array, Float32Array];
          expect(found).toEqual(same);
          for (let token = 0; token < tokens; token++)
            for (let o = 0; o < out; o++) {
              let sum = added ? (bias[o] as number) : 0;
              for (let i = 0; i < inputs; i++)
                sum += (x[token * inputs + i] as number) * (dense[o * inputs + i] as number);
              expect(Math.abs((found[token * out + o] as number) - sum)).toBeLessThan(1e-4);
            }
          if (added) ops.dispose(added);
        }
      const ids = Int32Array.of(out - 1, 0, out >> 1);
      const rows = ops.embed(half, ids, 1, 3);
      const looked = ops.dataSync(rows);
      for (const [i, id] of ids.entries())
        expect(looked.subarray(i * inputs, (i + 1) * inputs)).toEqual(dense.subarray(id * inputs, (id + 1) * inputs));
      for (const each of [rows, half, full]) ops.dispose(each);
      expect(memory()).toEqual(before);
    });
  });

  it('takes 2 bytes a value, and nothing but products and look-ups', async () => {
    const before = memory().bytes;
    const patterns = encodeBf16(normals(6400));
    const weight = await engine.halfWeight!(matrixOf('bf16', [64, 100], patterns));
    expect(memory().bytes - before).toBe(2 * 6400);
    expect(() => ops.scope(() => ops.scale(weight, 2))).toThrow(QuantError);
    ops.dispose(weight);
    const lacking = matrixOf('bf16', [65, 100], patterns);
    await expect(engine.halfWeight!(lacking)).rejects.toThrow(ShapeError);
    expect(memory().bytes).toBe(before);
  });

  it('is read some rows at a time', async () => {
    const [out, inputs] = [1100, 1000];
    const patterns = encodeBf16(normals(out * inputs));
    const matrix = matrixOf('bf16', [out, inputs], patterns);
    const read: number[] = [];
    const weight = await engine.halfWeight!({
      ...matrix,
      rows(first, end) {
        read.push(first, end);
        return matrix.rows(first, end);
      },
    });
    expect(read).toEqual([0, 1048, 1048, 1100]);
    const ids = Int32Array.of(0, 31, 1047, 1048, 1099);
    const rows = ops.embed(weight, ids, 1, ids.length);
    const expected = [...ids].flatMap((id) => [...patterns.subarray(id * inputs, (id + 1) * inputs)]);
    expect(ops.dataSync(rows)).toEqual(toF32(tensor('bf16', [expected.length], Uint16Array.from(expected))));
    for (const each of [rows, weight]) ops.dispose(each);
  });
});
