import {
  absMax,
  CalibrationError,
  createContext,
  createRandom,
  dequantize,
  f32Scale,
  type HessianState,
  int4,
  minMax,
  NumericError,
  perChannel,
  perGroup,
  perTensor,
  quantize,
  referenceKernels,
  roundHalfEven,
  type Statistics,
  scheme,
  tensor,
  uint2,
  uint3,
  uint4,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { gptq, paperOptions } from './gptq.js';

const context = createContext();
/** Sweeps in blocks of the option's size, and of all columns whose grids are known. */
const sweeps = [
  ['in blocks', context],
  ['whole', createContext({ kernels: { ...referenceKernels, splitsColumns: true } })],
] as const;
const random = createRandom('gptq tests');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

/** Correlated inputs: each feature is a mixture of a few hidden ones. */
function hessianOf(columns: number, tokens: number, hidden = Math.ceil(columns / 3)): Float64Array {
  const mixture = normals(columns * hidden);
  const sum = new Float64Array(columns * columns);
  for (let t = 0; t < tokens; t++) {
    const z = normals(hidden);
    const x = Array.from({ length: columns }, (_, j) => {
      let value = 0.3 * random.normal() * (1 + (j % 4));
      for (let h = 0; h < hidden; h++) value += mixture[j * hidden + h] * z[h];
      return value;
    });
    for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) sum[i * columns + j] += x[i] * x[j];
  }
  return sum;
}

function statistics(sum: Float64Array, count = 100): Statistics {
  const state: HessianState = { width: Math.sqrt(sum.length), sum, count };
  return { get: () => state as any, has: () => true };
}

/** `tr((W-Q) H (W-Q)^T)` in f64. */
function loss(w: Float32Array, q: Float32Array, h: Float64Array): number {
  const n = Math.sqrt(h.length);
  let total = 0;
  for (let row = 0; row < w.length; row += n) {
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) total += (w[row + i] - q[row + i]) * h[i * n + j] * (w[row + j] - q[row + j]);
  }
  return total;
}

function damped(h: Float64Array, share = 0.01): Float64Array {
  const n = Math.sqrt(h.length);
  const out = h.slice();
  let mean = 0;
  for (let i = 0; i < n; i++) mean += h[i * n + i] / n;
  for (let i = 0; i < n; i++) out[i * n + i] += share * mean;
  return out;
}

/** Inverse by Gauss-Jordan in f64. */
function inverse(a: Float64Array): Float64Array {
  const n = Math.sqrt(a.length);
  const left = a.slice();
  const right = new Float64Array(n * n);
  for (let i = 0; i < n; i++) right[i * n + i] = 1;
  for (let p = 0; p < n; p++) {
    const pivot = left[p * n + p];
    for (let j = 0; j < n; j++) {
      left[p * n + j] /= pivot;
      right[p * n + j] /= pivot;
    }
    for (let i = 0; i < n; i++) {
      const factor = left[i * n + p];
      if (i === p || factor === 0) continue;
      for (let j = 0; j < n; j++) {
        left[i * n + j] -= factor * left[p * n + j];
        right[i * n + j] -= factor * right[p * n + j];
      }
    }
  }
  return right;
}

/**
 * Optimal brain quantization in a fixed order (docs/reference/papers.md#gptq): round a column, spread its error over the remaining ones by
 * the inverse Hessian, eliminate the column. Grids are given per column, or fitted at each group's first column.
 */
function eliminate(
  w: Float32Array,
  rows: number,
  h: Float64Array,
  max: number,
  gridOf: (row: number, column: number, current: Float64Array) => { scale: number; zero: number },
): Uint8Array {
  const n = Math.sqrt(h.length);
  const codes = new Uint8Array(rows * n);
  for (let row = 0; row < rows; row++) {
    const current = Float64Array.from(w.subarray(row * n, (row + 1) * n));
    let inv = inverse(h);
    for (let i = 0; i < n; i++) {
      const { scale, zero } = gridOf(row, i, current);
      const q = Math.min(max, Math.max(0, roundHalfEven(current[i] / scale + zero)));
      codes[row * n + i] = q;
      const error = (current[i] - (q - zero) * scale) / inv[i * n + i];
      for (let j = i; j < n; j++) current[j] -= error * inv[i * n + j];
      const next = inv.slice();
      for (let a = 0; a < n; a++)
        for (let b = 0; b < n; b++) next[a * n + b] -= (inv[a * n + i] * inv[i * n + b]) / inv[i * n + i];
      inv = next;
      inv[i * n + i] = 1;
    }
  }
  return codes;
}

const [rows, columns] = [6, 24];
const weight = tensor('f32', [rows, columns], normals(rows * columns));
const h = hessianOf(columns, 200);

describe('gptq', () => {
  it.each(sweeps.flatMap(([how, context]) => [uint2, uint3, uint4].map((format) => ({ how, context, format }))))(
    '$format.bits bits, $how: the same codes as eliminating columns one by one in f64',
    async ({ context, format }) => {
      const of = scheme({ format, zeroPoint: 'integer', scaleStorage: f32Scale });
      const { quantized } = await gptq({ ...paperOptions, actOrder: false, blockSize: 7 }).quantize(
        weight,
        statistics(h),
        of,
        context,
      );
      const grid = (row: number) => ({
        scale: quantized.scales[row],
        zero: (quantized.zeroPoints as Float32Array)[row],
      });
      expect(quantized.codes).toEqual(eliminate(weight.data, rows, damped(h), format.max, grid));
    },
  );

  it.each(sweeps)(
    '%s: refits the grid of a group, ragged last one included, on the updated weights at its first column',
    async (_how, context) => {
      const size = 10;
      const of = scheme({ format: uint3, granularity: perGroup(size), zeroPoint: 'integer', scaleStorage: f32Scale });
      const { quantized } = await gptq({ ...paperOptions, actOrder: false, blockSize: 4 }).quantize(
        weight,
        statistics(h),
        of,
        context,
      );
      let grid = { scale: 1, zero: 0 };
      const fitted: number[] = [];
      const codes = eliminate(weight.data, rows, damped(h), uint3.max, (_row, column, current) => {
        if (column % size === 0) {
          const part = Float32Array.from(current.subarray(column, Math.min(column + size, columns)));
          const scale = new Float32Array(1);
          const zero = new Float32Array(1);
          minMax().fit({ values: part, rows: 1, columns: part.length, scheme: of, scale, zero });
          grid = { scale: scale[0], zero: zero[0] };
          fitted.push(grid.scale);
        }
        return grid;
      });
      expect(quantized.codes).toEqual(codes);
      for (let i = 0; i < fitted.length; i++) expect(quantized.scales[i]).toBeCloseTo(fitted[i], 5);
    },
  );

  it('act-order with static groups equals permuting by hand', async () => {
    const of = scheme({ format: uint3, granularity: perGroup(8), zeroPoint: 'integer', scaleStorage: f32Scale });
    const { quantized } = await gptq({ ...paperOptions, actOrder: true }).quantize(weight, statistics(h), of, context);
    const order = Array.from({ length: columns }, (_, j) => j).sort((a, b) => h[b * columns + b] - h[a * columns + a]);
    const w = new Float32Array(weight.data.length);
    const permuted = new Float64Array(h.length);
    for (let j = 0; j < columns; j++) {
      for (let row = 0; row < rows; row++) w[row * columns + j] = weight.data[row * columns + order[j]];
      for (let i = 0; i < columns; i++) permuted[i * columns + j] = h[order[i] * columns + order[j]];
    }
    const codes = eliminate(w, rows, damped(permuted), uint3.max, (row, column) => {
      const index = row * 3 + Math.floor(order[column] / 8);
      return { scale: quantized.scales[index], zero: (quantized.zeroPoints as Float32Array)[index] };
    });
    for (let row = 0; row < rows; row++) {
      for (let j = 0; j < columns; j++)
        expect(quantized.codes[row * columns + order[j]]).toBe(codes[row * columns + j]);
    }
    expect(quantized.groupIndex).toBeUndefined();
  });

  it('act-order without static groups keeps the group of each column', async () => {
    const of = scheme({ format: uint3, granularity: perGroup(8), zeroPoint: 'integer' });
    const { quantized, report } = await gptq({ ...paperOptions, actOrder: true, staticGroups: false }).quantize(
      weight,
      statistics(h),
      of,
      context,
    );
    expect(report.method).toBe('gptq');
    const order = Array.from({ length: columns }, (_, j) => j).sort((a, b) => h[b * columns + b] - h[a * columns + a]);
    expect(order.map((column) => quantized.groupIndex?.[column])).toEqual(order.map((_, j) => Math.floor(j / 8)));
    const nearest = dequantize(quantize(weight, of, { fit: minMax() }));
    const own = loss(weight.data, dequantize(quantized).data, damped(h));
    expect(own).toBeLessThan(0.7 * loss(weight.data, nearest.data, damped(h)));
  });

  it.each([
    ['per channel', perChannel, int4, 'none' as const],
    ['per tensor', perTensor, uint4, 'integer' as const],
    ['in groups', perGroup(7), uint3, 'integer' as const],
  ])('has less loss than round-to-nearest on correlated inputs, %s', async (_where, granularity, format, zeroPoint) => {
    const of = scheme({ format, granularity, zeroPoint });
    const { quantized } = await gptq(paperOptions).quantize(weight, statistics(h), of, context);
    const own = loss(weight.data, dequantize(quantized).data, damped(h));
    const nearest = loss(weight.data, dequantize(quantize(weight, of, { fit: minMax() })).data, damped(h));
    expect(own).toBeLessThan(0.7 * nearest);
  });

  it('is round-to-nearest on uncorrelated inputs', async () => {
    const identity = new Float64Array(columns * columns);
    for (let i = 0; i < columns; i++) identity[i * columns + i] = 3;
    for (const fit of [minMax(), absMax({ range: 'full' })]) {
      const of = scheme({ format: int4, granularity: perGroup(8) });
      const { quantized } = await gptq({ ...paperOptions, fit }).quantize(weight, statistics(identity), of, context);
      expect(quantized.codes).toEqual(quantize(weight, of, { fit }).codes);
    }
  });

  it('rounds dead columns to nearest and counts them', async () => {
    const dead = h.slice();
    for (let i = 0; i < columns; i++) dead[3 * columns + i] = dead[i * columns + 3] = 0;
    const of = scheme({ format: uint4, zeroPoint: 'integer' });
    const { quantized, report } = await gptq(paperOptions).quantize(weight, statistics(dead), of, context);
    expect(report.figures.deadColumns).toBe(1);
    const nearest = quantize(weight, of, { fit: minMax() });
    for (let row = 0; row < rows; row++)
      expect(quantized.codes[row * columns + 3]).toBe(nearest.codes[row * columns + 3]);
  });

  it.each([
    ['of zeros (no input was ever seen)', new Float64Array(columns * columns)],
    ['of rank 1', hessianOf(columns, 1)],
    ['of fewer samples than columns', hessianOf(columns, 5)],
  ])('stays finite for a Hessian %s', async (_what, sum) => {
    const of = scheme({ format: uint2, zeroPoint: 'integer' });
    const { quantized } = await gptq(paperOptions).quantize(weight, statistics(sum), of, context);
    const values = dequantize(quantized).data;
    expect(values.every(Number.isFinite)).toBe(true);
    const nearest = dequantize(quantize(weight, of, { fit: minMax() })).data;
    const [own, rounded] = [values, nearest].map((version) => loss(weight.data, version, damped(sum)));
    expect(own).toBeLessThanOrEqual(rounded * (1 + 1e-6));
  });

  it('raises the damping until the factorisation succeeds, and says so', async () => {
    // A negative eigenvalue, as rounding of a nearly singular matrix gives.
    const sum = hessianOf(columns, 2);
    for (let i = 0; i < columns; i++) sum[i * columns + i] *= 0.9;
    const { report } = await gptq({ ...paperOptions, damping: 1e-6 }).quantize(
      weight,
      statistics(sum),
      scheme({ format: uint4, zeroPoint: 'integer' }),
      context,
    );
    expect(report.figures.retries).toBeGreaterThan(0);
    expect(report.figures.damping).toBeGreaterThan(1e-6);
    expect(report.notes.join()).toContain('could be factored only with damping');
  });

  it('refuses broken statistics and schemes that it cannot do', async () => {
    const of = scheme({ format: uint4, zeroPoint: 'integer' });
    const broken = h.slice();
    broken[0] = Number.NaN;
    await expect(gptq(paperOptions).quantize(weight, statistics(broken), of, context)).rejects.toThrow(NumericError);
    await expect(gptq(paperOptions).quantize(weight, statistics(h, 0), of, context)).rejects.toThrow(CalibrationError);
    await expect(gptq(paperOptions).quantize(weight, statistics(new Float64Array(9)), of, context)).rejects.toThrow(
      '24 input features, its Hessian 3',
    );
    expect(
      gptq(paperOptions).refuse?.(scheme({ format: uint4, granularity: { kind: 'flat', size: 64 } }), [1, 1]),
    ).toContain('not per flat');
  });
});
