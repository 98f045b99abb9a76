import type { Kernels, ResidualCrossState } from '@q/core';

/** What is asked about a correction of the residual stream. */
export interface ResidualCorrection {
  /** W `[rows, n]`. */
  readonly weight: Float32Array;
  readonly rows: number;
  /** D `[rows, n]`: by what the weight would move. */
  readonly change: Float32Array;
  readonly state: ResidualCrossState;
  /** 0 to 1: how much of the correction is applied. */
  readonly share: number;
}

/**
 * Whether a correction of the residual stream ({@link retarget}) makes it better for the tokens of the sample, each measured
 * against its own size:
 *
 *     sum_t ||e_t - share D x_t||^2 / ||r_t + W x_t||^2
 *
 * against the same without D. The norm behind the layer divides every token by its size, so this is what later layers see.
 * The regression itself minimises the plain sum. Where few tokens are many times larger than all others (a weight of 1e4
 * is enough to make some), it repairs a share of their error and adds to all other tokens more than they hold.
 * With `state.wholeOutput`, `e_t` is all that the output lacks of the wanted one.
 * Without a sample the answer is yes.
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
