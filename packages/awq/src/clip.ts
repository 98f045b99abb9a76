import { dequantize, type Kernels, quantize, type ScaleFit, type Scheme, type Tensor, tensor, tiling } from '@q/core';

export interface ClippedWeight {
  readonly weight: Tensor<'f32'>;
  /** Groups that have a smaller error with a smaller range than their own. */
  readonly clippedGroups: number;
}

/** The data for the error of a clamped weight. */
export interface ClipInputs {
  /** `X^T X` of the inputs before scaling, `[in, in]`. */
  readonly hessian: ArrayLike<number>;
  /** Factors by which scaling multiplied the inputs; absent without scaling. */
  readonly inputScales?: Float32Array;
  /** The fit that quantizes the weight afterwards. */
  readonly fit: ScaleFit;
}

/** Number of steps of the range: `1 - i/20` of the largest magnitude for i = 0..9 (docs/reference/papers.md#awq). */
const shrinkSteps = 20;
const shrinkTried = 10;

/**
 * The clamping range `[-c, c]` of each group with the least error `d H_g d^T` of its part of the output. d is the
 * rounded clamped group minus the original group, and `H_g` the group's block of the Hessian. This is the mean over all
 * calibration tokens; the original code estimates it from 512 tokens.
 *
 * @param weight `[out, in]`, scales folded in
 */
export async function clipWeight(
  weight: Tensor<'f32'>,
  scheme: Scheme,
  { hessian, inputScales, fit }: ClipInputs,
  kernels: Kernels,
): Promise<ClippedWeight> {
  const { rows, columns, tileColumns: size, scaleColumns: groups } = tiling(scheme.granularity, weight.shape);
  const largest = largestMagnitudes(weight.data, rows, columns, size, groups);
  const blocks = Array.from({ length: groups }, (_, group) =>
    hessianBlock(hessian, columns, group * size, Math.min(size, columns - group * size), inputScales),
  );
  const bestError = new Float64Array(rows * groups).fill(Number.POSITIVE_INFINITY);
  const bestLimit = new Float32Array(rows * groups);
  const differences = new Float32Array(rows * size);
  const products = new Float32Array(rows * size);
  for (let step = 0; step < shrinkTried; step++) {
    const limits = largest.map((value) => value * (1 - step / shrinkSteps));
    const clamped = clamp(weight, limits, size, groups);
    const rounded = dequantize(quantize(clamped, scheme, { fit, kernels })).data;
    for (let group = 0; group < groups; group++) {
      const start = group * size;
      const width = Math.min(size, columns - start);
      const a = differences.subarray(0, rows * width);
      for (let row = 0; row < rows; row++)
        for (let j = 0; j < width; j++) {
          const i = row * columns + start + j;
          a[row * width + j] = rounded[i] - weight.data[i];
        }
      const out = products.subarray(0, rows * width);
      const product = await kernels.matmul({ a, b: blocks[group], m: rows, n: width, k: width, out });
      for (let row = 0; row < rows; row++) {
        let error = 0;
        for (let i = row * width; i < (row + 1) * width; i++) error += a[i] * product[i];
        const at = row * groups + group;
        if (error >= bestError[at]) continue;
        bestError[at] = error;
        bestLimit[at] = limits[at];
      }
    }
  }
  const clippedGroups = bestLimit.reduce((count, limit, at) => count + (limit < largest[at] ? 1 : 0), 0);
  return { weight: clippedGroups > 0 ? clamp(weight, bestLimit, size, groups) : weight, clippedGroups };
}

function largestMagnitudes(
  data: Float32Array,
  rows: number,
  columns: number,
  size: number,
  groups: number,
): Float32Array {
  const largest = new Float32Array(rows * groups);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < columns; j++) {
      const at = row * groups + Math.floor(j / size);
      largest[at] = Math.max(largest[at], Math.abs(data[row * columns + j]));
    }
  return largest;
}

function clamp({ shape, data }: Tensor<'f32'>, limits: Float32Array, size: number, groups: number): Tensor<'f32'> {
  const [rows, columns] = shape;
  const out = new Float32Array(data.length);
  for (let at = 0; at < rows * groups; at++) {
    const limit = limits[at];
    const row = Math.floor(at / groups);
    const start = row * columns + (at % groups) * size;
    const end = Math.min(start + size, (row + 1) * columns);
    for (let i = start; i < end; i++) out[i] = Math.max(-limit, Math.min(limit, data[i]));
  }
  return tensor('f32', shape, out);
}

/** A diagonal block of the Hessian of the scaled inputs. */
function hessianBlock(
  hessian: ArrayLike<number>,
  columns: number,
  start: number,
  width: number,
  inputScales: Float32Array | undefined,
): Float32Array {
  const block = new Float32Array(width * width);
  for (let i = 0; i < width; i++)
    for (let j = 0; j < width; j++) {
      const factor = inputScales ? inputScales[start + i] * inputScales[start + j] : 1;
      block[i * width + j] = hessian[(start + i) * columns + start + j] * factor;
    }
  return block;
}
