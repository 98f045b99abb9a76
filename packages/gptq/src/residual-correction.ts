import { type Kernels, permuteColumns, type ResidualCrossState } from '@q/core';

/** What is asked about a correction of the residual stream. */
export interface ResidualCorrection {
  /** W `[rows, n]`, columns in their own order. */
  readonly weight: Float32Array;
  readonly rows: number;
  /** `E X'^T` `[rows, n]`, columns in the order of the factor, as {@link retarget} takes it. */
  readonly cross: Float64Array;
  readonly state: ResidualCrossState;
  /** R of `H + ridge I = R R^T` `[n, n]`, and the order of its columns. */
  readonly factor: Float64Array;
  readonly permutation: Int32Array;
  /** 0 to 1: how much of the correction is applied. */
  readonly share: number;
}

/**
 * Whether a correction of the residual stream ({@link retarget}) makes it better for the tokens of the sample, each measured
 * against its own size:
 *
 *     sum_t ||e_t - share D x_t||^2 / ||r_t + W x_t||^2,   D = E X'^T (H + ridge I)^-1
 *
 * against the same without D. The norm behind the layer divides every token by its size, so this is what later layers see.
 * The regression itself minimises the plain sum. Where few tokens are many times larger than all others (a weight of 1e4
 * is enough to make some), it repairs a share of their error and adds to all other tokens more than they hold.
 * Without a sample the answer is yes.
 */
export async function correctionHelps(correction: ResidualCorrection, kernels: Kernels): Promise<boolean> {
  const { weight, rows, cross, state, factor, permutation, share } = correction;
  const { sample } = state;
  const [m, n] = [sample.tokens, permutation.length];
  if (m === 0) return true;
  const [inputs, errors, residuals] = sample.columns();
  const own = await kernels.matmul({ a: inputs, b: weight, m, n: rows, k: n, transposeB: true });
  // x (H + ridge I)^-1 of each token: far fewer rows than the weight has.
  const solved = new Float64Array(permuteColumns(inputs, m, permutation));
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', transpose: true, b: solved, rows: m });
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', b: solved, rows: m });
  const added = await kernels.matmul({
    a: Float32Array.from(solved),
    b: Float32Array.from(cross),
    m,
    n: rows,
    k: n,
    transposeB: true,
  });
  let [before, after] = [0, 0];
  for (let start = 0; start < m * rows; start += rows) {
    let [size, error, left] = [0, 0, 0];
    for (let at = start; at < start + rows; at++) {
      size += (residuals[at] + own[at]) ** 2;
      error += errors[at] ** 2;
      left += (errors[at] - share * added[at]) ** 2;
    }
    if (size === 0) continue;
    before += error / size;
    after += left / size;
  }
  return after <= before;
}
