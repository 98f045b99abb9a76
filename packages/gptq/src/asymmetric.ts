import { type Kernels, permuteColumns, restoreColumns, roundHalfEven, SchemeError } from '@q/core';
import type { GptqProblem, GptqSolution } from './solve.js';

/**
 * The column sweep of GPTAQ (Li et al., arXiv 2504.02692; docs/reference/papers.md#correction-of-earlier-errors): GPTQ
 * against the output `W X` of the unquantized model, while the inputs of the linear are X'. With `E = (X - X') X'^T`, U
 * the upper Cholesky factor of H^-1 and `P = alpha striu(E U^T) U`, rounding column i changes the later ones by
 *
 *     w_j += w_i P_ij - (w_i - q_i) / U_ii U_ij
 *
 * It has the same objective as {@link retarget}, which needs no second matrix in the sweep. It exists for comparison.
 * Plain loops in f64, not a kernel.
 *
 * @param shift E `[columns, columns]`, both axes in the order of the problem
 * @param alpha 0..1; the authors use 0.25
 * @throws SchemeError without fixed grids, or for a format that is not linear
 */
export async function asymmetricSolve(
  problem: GptqProblem,
  shift: Float32Array,
  alpha: number,
  kernels: Kernels,
): Promise<GptqSolution> {
  const { rows, columns: n, factor, grids, group, groups, scheme, order } = problem;
  const weight = order ? permuteColumns(problem.weight, rows, order) : problem.weight;
  const { family, min, max } = scheme.format;
  if (!grids) throw new SchemeError('gptq: asymmetric calibration needs fixed grids: act-order with static groups');
  if (family !== 'linear')
    throw new SchemeError(`gptq: asymmetric calibration rounds integers, not ${scheme.format.name}`);
  const u = await inverseOf(factor, n, kernels);
  const p = await propagation(shift, u, n, alpha, kernels);
  const { scales, zeros } = grids;
  const codes = new Uint8Array(rows * n);
  const loss = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const w = Float64Array.from(weight.subarray(row * n, (row + 1) * n));
    for (let i = 0; i < n; i++) {
      const at = row * groups + group[i];
      const q = Math.min(max, Math.max(min, roundHalfEven(w[i] / scales[at] + zeros[at])));
      const value = Math.fround((q - zeros[at]) * scales[at]);
      const error = (w[i] - value) / u[i * n + i];
      const kept = w[i];
      for (let j = i + 1; j < n; j++) w[j] += kept * p[i * n + j] - error * u[i * n + j];
      codes[row * n + i] = q - min;
      loss[row] += error * error;
    }
  }
  return { codes: order ? restoreColumns(codes, rows, order) : codes, scales, zeros, loss };
}

/** `R^-1`, upper triangular: the factor U of `H^-1 = U^T U`. */
async function inverseOf(factor: Float32Array, n: number, kernels: Kernels): Promise<Float32Array> {
  const b = new Float64Array(n * n);
  for (let i = 0; i < n; i++) b[i * n + i] = 1;
  await kernels.triangularSolve({ t: Float64Array.from(factor), n, triangle: 'upper', b, rows: n });
  return Float32Array.from(b);
}

async function propagation(
  shift: Float32Array,
  u: Float32Array,
  n: number,
  alpha: number,
  kernels: Kernels,
): Promise<Float32Array> {
  const upper = await kernels.matmul({ a: shift, b: u, m: n, n, k: n, transposeB: true });
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) upper[i * n + j] *= j > i ? alpha : 0;
  return kernels.matmul({ a: upper, b: u, m: n, n, k: n });
}
