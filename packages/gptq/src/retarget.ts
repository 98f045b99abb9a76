import type { Kernels } from '@q/core';

/**
 * The target of GPTQ for a linear after quantized linears (docs/reference/papers.md#correction-of-earlier-errors). With X
 * the inputs in the unquantized model, X' the real inputs of the linear, `H = X' X'^T`, `C = X X'^T` and a ridge on
 * both,
 *
 *     ||W X - Q X'||^2 = ||(W' - Q) X'||^2 + const,   W' = W (C + ridge I) (H + ridge I)^-1 = W + W (C - H) (H + ridge I)^-1
 *
 * A linear that adds to the residual stream can also compensate for the error E that earlier linears left in it. Its
 * target output is then `W X + E`, which adds `E X'^T` to the right side.
 *
 * Returns `W' - W`, the change of the weight. f32 is enough for the solves: an error of the change counts by its effect
 * on the outputs, which grows with the condition of R only. That is at most the root of the features over the ridge.
 * @param right `W (C - H) + E X'^T` `[rows, n]`, columns in the order of the factor
 * @param factor R of `H + ridge I = R R^T`, upper triangular `[n, n]`
 */
export async function retarget(
  right: ArrayLike<number>,
  rows: number,
  factor: Float32Array,
  kernels: Kernels,
): Promise<Float32Array> {
  const n = right.length / rows;
  // x R R^T = b: first y R^T = b, then x R = y.
  const b = new Float32Array(right);
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', transpose: true, b, rows });
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', b, rows });
  return b;
}
