import { type Kernels, permuteColumns, type ResidualCrossState, restoreColumns } from '@q/core';
import type { InputCorrection } from './linear-inputs.js';
import { correctionHelps } from './residual-correction.js';
import { retarget } from './retarget.js';

/** A linear that shall compensate for the errors of earlier ones. */
export interface UncorrectedLinear {
  /** W `[rows, columns]`, columns in their own order. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly correction: InputCorrection;
  /** Order of the correction's columns. */
  readonly permutation: Int32Array;
  /** The error of the residual stream; absent when only the inputs are corrected. */
  readonly residual?: ResidualCrossState;
  /** 0 to 1: the share of the correction that is applied. */
  readonly share: number;
}

export interface CorrectedTarget {
  /** `[rows, columns]`, columns in their own order. */
  readonly target: Float32Array;
  /** True when the error of the residual stream is not corrected, since the correction would make most tokens worse. */
  readonly leftOut: boolean;
}

/**
 * The target of a linear's rounding, `W + share (W' - W)` with W' of {@link retarget}. The right side of its regression
 * comes from the shift of the inputs and the error of the stream. If the wanted outputs were collected it comes from
 * these: `Z X'^T - W H`.
 */
export async function correctedTarget(linear: UncorrectedLinear, kernels: Kernels): Promise<CorrectedTarget> {
  const { weight, rows, correction, permutation, residual, share } = linear;
  const n = permutation.length;
  const own = permuteColumns(weight, rows, permutation);
  const times = (matrix: Float32Array) => kernels.matmul({ a: own, b: matrix, m: rows, n, k: n });
  const solved = async (right: ArrayLike<number>) =>
    restoreColumns(await retarget(right, rows, correction.factor, kernels), rows, permutation);

  let leftOut = false;
  let change: Float32Array | undefined;
  if (residual?.sum.length === rows * n) {
    const right = permuteColumns(residual.sum, rows, permutation);
    if (residual.wholeOutput) {
      const given = await times(correction.gram());
      for (let i = 0; i < right.length; i++) right[i] -= given[i];
    }
    const toStream = await solved(right);
    if (await correctionHelps({ weight, rows, change: toStream, state: residual, share }, kernels)) change = toStream;
    else leftOut = true;
    // The wanted outputs already contain the shift of the inputs.
    if (residual.wholeOutput) return { target: moved(weight, share, change), leftOut };
  }
  // Applies the factor to the rows of the weight or to the rows of the shift, whichever are fewer.
  const toInputs =
    rows >= n
      ? restoreColumns(await times(await correction.solved(kernels)), rows, permutation)
      : await solved(await times(correction.shift()));
  return { target: moved(moved(weight, share, toInputs), share, change), leftOut };
}

function moved(weight: Float32Array, share: number, change: Float32Array | undefined): Float32Array {
  if (!change) return weight;
  const out = new Float32Array(weight.length);
  for (let i = 0; i < out.length; i++) out[i] = weight[i] + share * change[i];
  return out;
}
