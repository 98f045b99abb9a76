import type { Kernels } from '@q/core';

/**
 * Rows of the Hessian that are in f32 at a time: a copy of the whole Hessian would be the largest matrix of a run under
 * a memory limit.
 */
const inputsAtOnce = 1024;

/**
 * Relative errors `tr(D H D^T) / tr(W H W^T)` of several versions of some rows of a weight, with `D` the difference of
 * a version from the weight; 0 if the denominator is 0. Products are in the kernels' f32, their sums in f64.
 * @param weight `[rows, columns]`, as is each of `versions`
 * @param hessian `X^T X` of the inputs `[columns, columns]`, or its diagonal `[columns]`; the unit matrix when absent
 */
export async function relativeErrors(
  weight: Float32Array,
  versions: readonly Float32Array[],
  rows: number,
  hessian: ArrayLike<number> | undefined,
  kernels: Kernels,
): Promise<number[]> {
  const columns = weight.length / rows;
  const size = weight.length;
  // One product serves all versions, so the Hessian is copied to the kernels once.
  const stacked = new Float32Array((1 + versions.length) * size);
  stacked.set(weight);
  for (const [index, version] of versions.entries()) {
    const at = (index + 1) * size;
    for (let i = 0; i < size; i++) stacked[at + i] = weight[i] - version[i];
  }
  const product = hessian ? await timesHessian(stacked, columns, hessian, kernels) : stacked;
  const [norm, ...energies] = [weight, ...versions].map((_, index) => {
    let sum = 0;
    for (let i = index * size; i < (index + 1) * size; i++) sum += stacked[i] * product[i];
    return sum;
  });
  return energies.map((energy) => (norm > 0 ? Math.max(0, energy) / norm : 0));
}

/** `x H` for x `[rows, columns]`. */
async function timesHessian(
  x: Float32Array,
  columns: number,
  hessian: ArrayLike<number>,
  kernels: Kernels,
): Promise<Float32Array> {
  const rows = x.length / columns;
  const out = new Float32Array(x.length);
  if (hessian.length === columns) {
    for (let i = 0; i < x.length; i++) out[i] = x[i] * hessian[i % columns];
    return out;
  }
  for (let start = 0; start < columns; start += inputsAtOnce) {
    const k = Math.min(inputsAtOnce, columns - start);
    const a = new Float32Array(rows * k);
    const b = new Float32Array(k * columns);
    for (let row = 0; row < rows; row++) {
      const from = row * columns + start;
      a.set(x.subarray(from, from + k), row * k);
    }
    for (let i = 0; i < b.length; i++) b[i] = hessian[start * columns + i];
    await kernels.matmul({ a, b, m: rows, n: columns, k, out, accumulate: start > 0 });
  }
  return out;
}
