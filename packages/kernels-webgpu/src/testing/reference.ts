import { createRandom } from '@q/core';

const random = createRandom('webgpu kernels');

export const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
export const integers = (count: number, below: number) =>
  Uint8Array.from({ length: count }, () => random.integer(below));

/** `x w^T` in f64. */
export function product(x: ArrayLike<number>, w: ArrayLike<number>, m: number, n: number, k: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += x[i * k + p] * w[j * k + p];
      out[i * n + j] = sum;
    }
  }
  return out;
}

/** Largest absolute difference, as a share of the largest expected magnitude. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) throw new Error(`${found.length} values, ${expected.length} were expected`);
  let largest = 1e-30;
  let error = 0;
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]));
    const difference = Math.abs(found[i] - expected[i]);
    error = Math.max(error, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  return error / largest;
}

/** Codes of `bits` bits, LSB-first, as bytes. They are written bit by bit, independently of core's packing. */
export function bitStream(codes: ArrayLike<number>, bits: number): Uint8Array {
  const out = new Uint8Array(Math.ceil((codes.length * bits) / 32) * 4);
  for (let i = 0; i < codes.length; i++) {
    for (let b = 0; b < bits; b++) if ((codes[i] >> b) & 1) out[(i * bits + b) >> 3] |= 1 << ((i * bits + b) & 7);
  }
  return out;
}
