import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dequantize } from '../dequantize.js';
import { quantize } from '../quantize.js';
import { createRandom } from '../random.js';
import { schemes } from '../schemes/presets.js';
import { tensor } from '../tensor.js';
import {
  matmulBits,
  matmulSigns,
  matmulTernary,
  matmulXnor,
  packBits,
  packTernary,
  popcount,
} from './bitwise-matmul.js';

const shape = fc.record({
  m: fc.integer({ min: 0, max: 5 }),
  n: fc.integer({ min: 1, max: 5 }),
  k: fc.integer({ min: 1, max: 100 }),
  seed: fc.nat(1e6),
});

function product(a: readonly number[], b: readonly number[], m: number, n: number, k: number): number[] {
  return Array.from({ length: m * n }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += a[Math.floor(i / n) * k + j] * b[(i % n) * k + j];
    return sum;
  });
}

describe('bitwise products', () => {
  it.each([
    {
      name: 'signs',
      levels: [-1, 1],
      multiply: (a: number[], b: number[], m: number, n: number, k: number) =>
        matmulSigns(
          packBits(a, m, k, (x) => x > 0),
          packBits(b, n, k, (x) => x > 0),
        ),
    },
    {
      name: 'bits',
      levels: [0, 1],
      multiply: (a: number[], b: number[], m: number, n: number, k: number) =>
        matmulBits(packBits(a, m, k, Boolean), packBits(b, n, k, Boolean)),
    },
    {
      name: 'ternary',
      levels: [-1, 0, 1],
      multiply: (a: number[], b: number[], m: number, n: number, k: number) =>
        matmulTernary(packTernary(a, m, k, Math.sign), packTernary(b, n, k, Math.sign)),
    },
  ])('$name equal the plain product, whatever the width', ({ levels, multiply }) => {
    fc.assert(
      fc.property(shape, ({ m, n, k, seed }) => {
        const random = createRandom(seed);
        const draw = (count: number) => Array.from({ length: count }, () => levels[random.integer(levels.length)]);
        const [a, b] = [draw(m * k), draw(n * k)];
        expect([...multiply(a, b, m, n, k)]).toEqual(product(a, b, m, n, k));
      }),
    );
  });

  it('XNOR-Net: signs, and the mean magnitude of each row as its scale', () => {
    const random = createRandom(1);
    const draw = (rows: number) =>
      tensor(
        'f32',
        [rows, 70],
        Float32Array.from({ length: rows * 70 }, () => random.normal()),
      );
    const [x, w] = [quantize(draw(3), schemes.xnor), quantize(draw(4), schemes.xnor)];
    const [a, b] = [[...dequantize(x).data], [...dequantize(w).data]];
    const expected = product(a, b, 3, 4, 70);
    const { data, shape: size } = matmulXnor(x, w);
    expect(size).toEqual([3, 4]);
    for (const [i, value] of data.entries()) expect(value).toBeCloseTo(expected[i], 4);
  });

  it('refuses other codes, other scales and other widths', () => {
    const [x, int4] = [schemes.xnor, schemes.int4].map((of) => quantize(tensor('f32', [2, 8]), of));
    expect(() => matmulXnor(x, int4)).toThrow('got int4');
    expect(() => matmulXnor(x, quantize(tensor('f32', [2, 9]), schemes.xnor))).toThrow('8 and of 9 bits');
    expect(() => packBits([1], 2, 3, Boolean)).toThrow('need 6 values');
  });

  it('counts ones', () => {
    for (const word of [0, 1, -1, 0x80000000, 0x12345678]) {
      expect(popcount(word)).toBe([...(word >>> 0).toString(2)].filter((digit) => digit === '1').length);
    }
  });
});
