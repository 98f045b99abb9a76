import { type Kernels, type Random, ShapeError } from '@q/core';
import { type Factor, spreadingFactors } from './factors.js';

/**
 * An orthogonal matrix `[size, size]` that is cheap to apply: `Q = S (I x F) R` with random signs S, the same F = the
 * Kronecker product of `factors` on every `block` consecutive channels, and one Householder reflection R, or none. Rows
 * are rotated: `x -> x Q`.
 */
export interface Rotation {
  readonly size: number;
  /**
   * Channels that are mixed with each other: `size` for a whole vector, headDim for heads. Product of the factors'
   * sizes.
   */
  readonly block: number;
  /** +1 or -1 `[size]`. */
  readonly signs: Float32Array;
  readonly factors: readonly Factor[];
  /** v of `R = I - 2 v v^T / (v^T v)` `[size]`. */
  readonly reflection?: Float64Array;
}

/** Q of size `n`: random signs, then Hadamard matrices (QuaRot, arXiv 2404.00456, section 3). */
export function randomRotation(n: number, random: Random): Rotation {
  return { size: n, block: n, signs: randomSigns(n, random), factors: spreadingFactors(n, random) };
}

/** One rotation for each of `heads` heads: different signs, the same Hadamard matrix. */
export function headRotation(heads: number, headDim: number, random: Random): Rotation {
  const factors = spreadingFactors(headDim, random);
  return { size: heads * headDim, block: headDim, signs: randomSigns(heads * headDim, random), factors };
}

/** The rotation of heads that are repeated `times` times in a row (keys and values that several queries share). */
export function repeatHeads(rotation: Rotation, times: number): Rotation {
  const { size, block, signs } = rotation;
  const repeated = new Float32Array(size * times);
  for (let i = 0; i < repeated.length; i++) repeated[i] = signs[Math.floor(i / (block * times)) * block + (i % block)];
  return { ...rotation, size: size * times, signs: repeated };
}

/**
 * Makes `1 Q = 1` true for the vector of ones, so Q commutes with subtracting the mean (layer norms). With u = 1 Q, as
 * long as 1, the reflection along `v = u - 1` maps u to 1. It changes Q by the rank-one matrix `2 (Q v) v^T / v^T v`;
 * with `v^T v` about 2n, entries stay of order 1/sqrt(n).
 */
export async function keepOnes(rotation: Rotation, kernels: Kernels): Promise<Rotation> {
  const ones = new Float32Array(rotation.size).fill(1);
  await applyRotation(rotation, ones, 1, kernels);
  const reflection = Float64Array.from(ones, (value) => value - 1);
  const length = reflection.reduce((sum, value) => sum + value * value, 0);
  // If Q keeps the ones already, v is only rounding error, and must not be normalized to a direction.
  return length < 1e-6 * rotation.size ? rotation : { ...rotation, reflection };
}

/** Number of values at a time: a few megabytes between two passes. */
const chunkValues = 1 << 21;

/**
 * `x -> x Q` in place for each row of `x` `[rows, size]`.
 * @throws ShapeError when `x` has another length
 */
export async function applyRotation(
  rotation: Rotation,
  x: Float32Array,
  rows: number,
  kernels: Kernels,
): Promise<void> {
  const { size, signs, reflection } = rotation;
  if (x.length !== rows * size) {
    throw new ShapeError(`a rotation of size ${size} needs [${rows}, ${size}] values, got ${x.length}`);
  }
  const step = Math.max(1, Math.floor(chunkValues / size));
  for (let start = 0; start < rows; start += step) {
    const count = Math.min(step, rows - start);
    const part = x.subarray(start * size, (start + count) * size);
    for (let row = 0; row < count; row++) for (let i = 0; i < size; i++) part[row * size + i] *= signs[i];
    let inner = rotation.block;
    for (const factor of rotation.factors) {
      inner /= factor.size;
      await applyFactor(factor, inner, part, kernels);
    }
    if (reflection) reflect(reflection, part, count);
  }
}

/** `x -> x^T Q` for a matrix `[size, columns]`: mixes its rows with each other, `Q^T x`. A new array. */
export async function rotateRows(
  rotation: Rotation,
  x: Float32Array,
  columns: number,
  kernels: Kernels,
): Promise<Float32Array> {
  const transposed = transpose(x, 1, rotation.size, columns);
  await applyRotation(rotation, transposed, columns, kernels);
  return transpose(transposed, 1, columns, rotation.size);
}

/** Mixes the middle axis of `x` `[.., factor.size, inner]`. */
async function applyFactor({ size, matrix }: Factor, inner: number, x: Float32Array, kernels: Kernels): Promise<void> {
  const outer = x.length / (size * inner);
  const mixed = inner === 1 ? x : transpose(x, outer, size, inner);
  const rows = x.length / size;
  if (!matrix) {
    await kernels.hadamard({ x: mixed, rows, columns: size, size });
    if (mixed !== x) x.set(transpose(mixed, outer, inner, size));
    return;
  }
  const product = await kernels.matmul({ a: mixed, b: matrix, m: rows, n: size, k: size });
  x.set(inner === 1 ? product : transpose(product, outer, inner, size));
}

function reflect(v: Float64Array, x: Float32Array, rows: number): void {
  const n = v.length;
  let length = 0;
  for (let i = 0; i < n; i++) length += v[i] * v[i];
  for (let row = 0; row < rows; row++) {
    let share = 0;
    for (let i = 0; i < n; i++) share += x[row * n + i] * v[i];
    share *= 2 / length;
    for (let i = 0; i < n; i++) x[row * n + i] -= share * v[i];
  }
}

/** Each of `count` matrices `[rows, columns]` transposed. */
function transpose(x: Float32Array, count: number, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let start = 0; start < count * rows * columns; start += rows * columns) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        out[start + column * rows + row] = x[start + row * columns + column];
      }
    }
  }
  return out;
}

function randomSigns(n: number, random: Random): Float32Array {
  return Float32Array.from({ length: n }, () => (random.uniform() < 0.5 ? -1 : 1));
}
