import type { Kernels, ResidualCrossState } from '@q/core';

/** A correction of the residual stream to be checked. */
export interface ResidualCorrection {
  /** W `[rows, n]`. */
  readonly weight: Float32Array;
  readonly rows: number;
  /** D `[rows, n]`: the change of the weight. */
  readonly change: Float32Array;
  readonly state: ResidualCrossState;
  /** 0 to 1: the share of the correction that is applied. */
  readonly share: number;
}

/**
 * Whether a correction of the residual stream ({@link retarget}) lowers the error of the tokens of the sample, each
 * relative to its own size:
 *
 *     sum_t ||e_t - share D x_t||^2 / ||r_t + W x_t||^2
 *
 * compared with the same sum without D. The norm after the linear divides every token by its size, so later linears see
 * this error. The regression itself minimises the plain sum. If a few tokens are many times larger than all others (a
 * weight of 1e4 causes such tokens), the regression repairs a share of their error, and adds more error to all other
 * tokens than they had. With `state.wholeOutput`, `e_t` is the difference between the wanted and the real output.
 * Without a sample the result is true.
 */
export async function correctionHelps(correction: ResidualCorrection, kernels: Kernels): Promise<boolean> {
  const { weight, rows, change, state, share } = correction;
  const { sample } = state;
  const m = sample.tokens;
  if (m === 0) return true;
  const [inputs, errors, residuals] = sample.columns();
  const times = (b: Float32Array) => kernels.matmul({ a: inputs, b, m, n: rows, k: b.length / rows, transposeB: true });
  const [own, added] = [await times(weight), await times(change)];
  let [before, after] = [0, 0];
  for (let start = 0; start < m * rows; start += rows) {
    let [size, error, left] = [0, 0, 0];
    for (let at = start; at < start + rows; at++) {
      const behind = residuals[at] + (state.wholeOutput ? errors[at] : own[at]);
      const lacks = state.wholeOutput ? errors[at] - own[at] : errors[at];
      const remains = lacks - share * added[at];
      size += behind * behind;
      error += lacks * lacks;
      left += remains * remains;
    }
    if (size === 0) continue;
    before += error / size;
    after += left / size;
  }
  return after <= before;
}
