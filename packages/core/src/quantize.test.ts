import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Scheme } from './contracts/scheme.js';
import { dequantize } from './dequantize.js';
import { absMax } from './fit/abs-max.js';
import { minMax } from './fit/min-max.js';
import { int4, signedIntegers, unsignedIntegers } from './formats/linear.js';
import { quantize } from './quantize.js';
import { perBlock, perChannel, perFlat, perGroup, perTensor, tiling } from './schemes/granularity.js';
import { f16Scale, f32Scale } from './schemes/scale-storage.js';
import { bitsPerWeight, scheme } from './schemes/scheme.js';
import { tensor } from './tensor.js';

const matrix = fc
  .tuple(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 19 }))
  .chain(([rows, columns]) =>
    fc
      .array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: rows * columns, maxLength: rows * columns })
      .map((values) => tensor('f32', [rows, columns], Float32Array.from(values))),
  );
const granularity = fc.oneof(
  fc.constant(perTensor),
  fc.constant(perChannel),
  fc.integer({ min: 1, max: 24 }).map(perGroup),
  fc.integer({ min: 1, max: 24 }).map(perFlat),
  fc
    .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 8 }))
    .map(([rows, columns]) => perBlock(rows, columns)),
);
const linearScheme = fc
  .tuple(fc.integer({ min: 2, max: 8 }), granularity, fc.boolean())
  .map(([bits, where, symmetric]) =>
    scheme({
      format: (symmetric ? signedIntegers : unsignedIntegers)[bits - 2],
      granularity: where,
      zeroPoint: symmetric ? 'none' : 'integer',
      scaleStorage: f32Scale,
    }),
  );

/** Index of the scale of element (i, j), straight from the definition of each granularity. */
function scaleOf({ granularity: where }: Scheme, [, columns]: readonly number[], i: number, j: number): number {
  switch (where.kind) {
    case 'tensor':
      return 0;
    case 'group':
      return i * Math.ceil(columns / where.size) + Math.floor(j / where.size);
    case 'flat':
      return Math.floor((i * columns + j) / where.size);
    case 'block':
      return Math.floor(i / where.rows) * Math.ceil(columns / where.columns) + Math.floor(j / where.columns);
    default:
      return i;
  }
}

describe('quantize and dequantize', () => {
  it('errs by at most half a step inside the range, on every granularity, ragged ones included', () => {
    fc.assert(
      fc.property(matrix, linearScheme, (weight, of) => {
        const quantized = quantize(weight, of, {
          fit: of.zeroPoint === 'none' ? absMax({ range: 'narrow' }) : minMax(),
        });
        const values = dequantize(quantized).data;
        const columns = weight.shape[1];
        for (let i = 0; i < weight.shape[0]; i++) {
          for (let j = 0; j < columns; j++) {
            const index = scaleOf(of, weight.shape, i, j);
            const step = quantized.scales[index];
            // The rounding of an asymmetric zero point shifts the range by up to half a step more at one end.
            const bound = (of.zeroPoint === 'none' ? 0.5 : 1) * step * 1.0001 + 1e-30;
            expect(Math.abs(values[i * columns + j] - weight.data[i * columns + j])).toBeLessThanOrEqual(bound);
          }
        }
      }),
    );
  });

  it('per group equals per tensor of each group', () => {
    fc.assert(
      fc.property(matrix, fc.integer({ min: 1, max: 20 }), (weight, size) => {
        const grouped = dequantize(
          quantize(weight, scheme({ format: int4, granularity: perGroup(size) }), { fit: minMax() }),
        ).data;
        const [rows, columns] = weight.shape;
        for (let i = 0; i < rows; i++) {
          for (let start = 0; start < columns; start += size) {
            const part = weight.data.slice(i * columns + start, i * columns + Math.min(start + size, columns));
            const alone = dequantize(
              quantize(tensor('f32', [part.length], part), scheme({ format: int4, granularity: perTensor }), {
                fit: minMax(),
              }),
            ).data;
            expect(grouped.slice(i * columns + start, i * columns + start + part.length)).toEqual(alone);
          }
        }
      }),
    );
  });

  it('scaling the weights by a power of two scales the result', () => {
    fc.assert(
      fc.property(matrix, linearScheme, fc.integer({ min: -8, max: 8 }), (weight, of, power) => {
        // Denormals lose bits when they are scaled down.
        const kept = tensor(
          'f32',
          weight.shape,
          weight.data.map((x) => (Math.abs(x) < 1e-20 ? 0 : x)),
        );
        const scaled = tensor(
          'f32',
          weight.shape,
          kept.data.map((x) => x * 2 ** power),
        );
        const a = dequantize(quantize(kept, of)).data;
        const b = dequantize(quantize(scaled, of)).data;
        for (let i = 0; i < a.length; i++) expect(b[i]).toBeCloseTo(a[i] * 2 ** power, 4);
      }),
    );
  });

  it('follows the rules of the GPTQ quantizer: range with zero, rounded zero point, half to even', () => {
    const weight = tensor('f32', [1, 4], Float32Array.of(-1, 0.5, 2, 0.1));
    const { codes, scales, zeroPoints } = quantize(
      weight,
      scheme({ format: unsignedIntegers[2], zeroPoint: 'integer', scaleStorage: f32Scale }),
      { fit: minMax() },
    );
    expect(scales[0]).toBe(Math.fround(3 / 15));
    expect([...(zeroPoints as Float32Array)]).toEqual([5]);
    // 0.5 / fround(0.2) is a little below 2.5; 0.1 / 0.2 is exactly a half, which goes to the even 6.
    expect([...codes]).toEqual([0, 7, 15, 6]);
  });

  it('full-range symmetric puts the largest magnitude on the lowest code, with a negative scale if need be', () => {
    const weight = tensor('f32', [2, 2], Float32Array.of(4, -1, -4, 1));
    const quantized = quantize(weight, scheme({ format: int4, scaleStorage: f32Scale }), {
      fit: absMax({ range: 'full' }),
    });
    expect([...quantized.scales]).toEqual([-0.5, 0.5]);
    expect([...quantized.codes]).toEqual([0, 10, 0, 10]);
    expect([...dequantize(quantized).data]).toEqual([4, -1, -4, 1]);
  });

  it.each(['none', 'integer'] as const)(
    'gives zeros for zeros, and no NaN, for empty, scalar and constant tensors (zero point %s)',
    (zeroPoint) => {
      const of = scheme({
        format: (zeroPoint === 'none' ? signedIntegers : unsignedIntegers)[2],
        granularity: perGroup(4),
        zeroPoint,
      });
      for (const [shape, fill] of [
        [[0, 8], 0],
        [[], 3],
        [[], 0],
        [[2, 8], 0],
        [[2, 7], -1.5],
        [[2, 8], 1e-41],
        [[1, 4], 3e38],
      ] as [number[], number][]) {
        const count = shape.reduce((a, b) => a * b, 1);
        const values = dequantize(quantize(tensor('f32', shape, new Float32Array(count).fill(fill)), of)).data;
        expect(values.every(Number.isFinite)).toBe(true);
        if (fill === 0) expect(values.every((x) => x === 0)).toBe(true);
      }
    },
  );

  it('survives a single huge outlier: the rest of its group becomes zero', () => {
    const weight = tensor('f32', [1, 8], Float32Array.of(1, -1, 0.5, 6e4, 0, 1, 2, 3));
    const values = dequantize(quantize(weight, scheme({ format: int4, granularity: perGroup(4) }))).data;
    expect([...values.slice(0, 3)]).toEqual([0, -0, 0].map((x) => x + 0));
    expect(Math.abs(values[3] - 6e4)).toBeLessThan(4100);
    expect(values[7]).toBeCloseTo(3, 0);
  });

  it('names the first element that is not finite', () => {
    const weight = tensor('f32', [2, 2], Float32Array.of(1, 2, Number.NaN, 4));
    expect(() => quantize(weight, scheme({ format: int4 }))).toThrow('element 2 is NaN');
    const infinite = tensor('f32', [1, 2], Float32Array.of(Number.POSITIVE_INFINITY, 1));
    expect(() => quantize(infinite, scheme({ format: int4 }))).toThrow('element 0 is Infinity');
  });
});

describe('schemes', () => {
  it('counts bits per weight with scales and zero points', () => {
    // 4 bits, f16 scale and a 4-bit zero point for each 128 (docs/reference/papers.md#rules-of-reporting).
    const of = scheme({
      format: unsignedIntegers[2],
      granularity: perGroup(128),
      zeroPoint: 'integer',
      scaleStorage: f16Scale,
    });
    expect(bitsPerWeight(of, [4096, 4096])).toBeCloseTo(4.156, 3);
    expect(bitsPerWeight(scheme({ format: int4 }), [256, 688])).toBeCloseTo(4 + 16 / 688, 10);
  });

  it('counts a ragged last group', () => {
    expect(tiling(perGroup(128), [256, 688]).scaleColumns).toBe(6);
    expect(tiling(perBlock(128, 128), [130, 5])).toMatchObject({ scaleRows: 2, scaleColumns: 1 });
  });

  it('never stores a zero or infinite f16 scale', () => {
    const { effective } = f16Scale.store(Float32Array.of(1e-12, -1e-12, 1e9, 0.1));
    expect([...effective]).toEqual([2 ** -24, -(2 ** -24), 65504, 0.0999755859375]);
  });
});
