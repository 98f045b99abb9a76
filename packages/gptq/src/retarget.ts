import type { Kernels } from '@q/core';

/**
 * The weight that GPTQ should aim at when the layers before it are quantized already (docs/reference/papers.md#correction-of-earlier-errors). With X the inputs
 * in the unquantized model, X' those that the layer really gets, `H = X' X'^T`, `C = X X'^T` and a ridge on both,
 *
 *     ||W X - Q X'||^2 = ||(W' - Q) X'||^2 + const,   W' = W (C + ridge I) (H + ridge I)^-1 = W + W (C - H) (H + ridge I)^-1
 *
 * A layer that adds to the residual stream can also make up for the error E that earlier layers left in it: the output it
 * should give is `W X + E`, which adds `E X'^T` to the right side.
 *
 * Returns `W + share (W' - W)`.
 * @param weight `[rows, n]`, columns in the order of the factor
 * @param shift `C - H` `[n, n]`, both axes in the order of the factor
 * @param residual `E X'^T` `[rows, n]`, columns in the order of the factor; absent where there is none
 * @param factor R of `H + ridge I = R R^T`, upper triangular `[n, n]`
 * @param share 0..1: how much of the correction is applied
 */
export async function retarget(
  weight: Float32Array,
  rows: number,
  shift: Float32Array,
  residual: Float64Array | undefined,
  factor: Float64Array,
  share: number,
  kernels: Kernels,
): Promise<Float32Array> {
  const n = Math.sqrt(shift.length);
  const product = await kernels.matmul({ a: weight, b: shift, m: rows, n, k: n });
  const b = new Float64Array(product);
  if (residual) for (let i = 0; i < b.length; i++) b[i] += residual[i];
  // x R R^T = b: first y R^T = b, then x R = y.
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', transpose: true, b, rows });
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', b, rows });
  return moved(weight, b, share);
}

/** `weight + share by`, both `[rows, n]`. */
const moved = (weight: Float32Array, by: ArrayLike<number>, share: number): Float32Array =>
  weight.map((value, i) => value + share * by[i]);

/**
 * The same where nothing is added to the right side, for layers with as many rows as inputs or more.
 * @param solved `(C - H) (H + ridge I)^-1` `[n, n]`, both axes in the order of the factor
 */
export async function retargetBy(
  weight: Float32Array,
  rows: number,
  solved: Float32Array,
  share: number,
  kernels: Kernels,
): Promise<Float32Array> {
  const n = Math.sqrt(solved.length);
  return moved(weight, await kernels.matmul({ a: weight, b: solved, m: rows, n, k: n }), share);
}
