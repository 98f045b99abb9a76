import {
  createContext,
  createRandom,
  dequantize,
  type QuantizedTensor,
  referenceKernels,
  type SyncKernels,
  tensor,
} from '@q/core';
import { llmInt8, llmInt8Weight } from '@q/llm-int8';
import { describe, expect, it } from 'vitest';
import { int8Weight } from './int8-weight.js';
import { mixedProduct } from './mixed-product.js';
import { outlierColumns } from './outlier-columns.js';

const random = createRandom('llm-int8');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const sync = referenceKernels.sync as SyncKernels;
const statistics = {
  get: () => {
    throw new Error('nothing was collected');
  },
  has: () => false,
};

async function rounded(out: number, width: number, data = normals(out * width)): Promise<QuantizedTensor> {
  const weight = tensor('f32', [out, width], data);
  return (await llmInt8().quantize(weight, statistics, llmInt8Weight, createContext())).quantized;
}

/** `x W^T` in f64. */
function product(x: ArrayLike<number>, w: ArrayLike<number>, width: number): number[] {
  const [tokens, out] = [x.length / width, w.length / width];
  return Array.from({ length: tokens * out }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += x[Math.floor(i / out) * width + j] * w[(i % out) * width + j];
    return sum;
  });
}

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.sqrt(Array.from(a).reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0));

describe('outlierColumns', () => {
  it('names columns with a magnitude of at least the threshold, in any row and of either sign', () => {
    const x = Float32Array.of(1, 6, 0, -5.9, -6, 1, 0, 5.9);
    expect([...outlierColumns(x, 4, 6)]).toEqual([0, 1]);
    expect([...outlierColumns(x, 4, 0)]).toEqual([]);
    expect([...outlierColumns(x, 4, 100)]).toEqual([]);
  });
});

describe('mixedProduct', () => {
  it('is the decomposition, worked by hand', () => {
    // Column 1 holds 8 >= 6. Rest: x = [2, 0, -1], max 2, codes [127, 0, -64 (63.5 to even)]; weight codes as given, scales
    // 1/127 and 2/127: sums 127*127 - 64*(-127) = 24257 and 127*64 = 8128.
    const weight = int8Weight({
      scheme: llmInt8Weight,
      shape: [2, 3],
      codes: Uint8Array.of(127, 64, -127, 64, 127, 0).map((code) => (code + 128) & 255),
      scales: Float32Array.of(1 / 127, 2 / 127),
    });
    const { y, outliers } = mixedProduct(Float32Array.of(2, 8, -1), weight, Float32Array.of(0, 1), 6, sync);
    expect([...outliers]).toEqual([1]);
    expect(y[0]).toBeCloseTo((24257 * 2) / 127 ** 2 + (8 * 64) / 127, 5);
    expect(y[1]).toBeCloseTo((8128 * 2 * 2) / 127 ** 2 + 8 * 2 + 1, 5);
  });

  it('is exact up to f32 for the outlier part: with every column an outlier no input is rounded', async () => {
    const [width, out] = [24, 5];
    const quantized = await rounded(out, width);
    const x = normals(3 * width).map((value) => 10 * Math.sign(value) + value);
    const { y, outliers } = mixedProduct(x, int8Weight(quantized), undefined, 6, sync);
    expect(outliers.length).toBe(width);
    const exact = product(x, dequantize(quantized).data, width);
    for (const [i, value] of exact.entries()) expect(Math.abs(y[i] - value)).toBeLessThan(1e-3);
  });

  it('restores the error of an input without outliers when a planted column is above the threshold', async () => {
    const [tokens, width, out] = [32, 64, 16];
    const data = normals(out * width);
    const weight = int8Weight(await rounded(out, width, data));
    const plain = normals(tokens * width);
    const planted = plain.map((value, i) => (i % width === 9 ? 60 * Math.sign(value) : value));
    const error = (x: Float32Array, threshold: number) =>
      distance(mixedProduct(x, weight, undefined, threshold, sync).y, product(x, data, width)) /
      Math.sqrt(product(x, data, width).length);
    const clean = error(plain, 0);
    // The column's own weights are read back from int8, so the outlier part carries their rounding error times 60.
    const weights = [...dequantizeColumn(weight, 9)];
    const ownError = distance(
      weights,
      data.filter((_, i) => i % width === 9),
    );
    const bound = clean + (60 * ownError) / Math.sqrt(out);
    expect(error(planted, 6)).toBeLessThan(1.1 * bound);
    expect(error(planted, 0)).toBeGreaterThan(3 * error(planted, 6));
  });

  it('refuses NaN', async () => {
    const weight = int8Weight(await rounded(2, 3));
    expect(() => mixedProduct(Float32Array.of(1, Number.NaN, 9), weight, undefined, 6, sync)).toThrow('NaN');
  });
});

function dequantizeColumn(weight: ReturnType<typeof int8Weight>, column: number): Float32Array {
  return Float32Array.from(
    { length: weight.outFeatures },
    (_, row) => weight.codes[row * weight.inFeatures + column] * weight.scales[row],
  );
}
