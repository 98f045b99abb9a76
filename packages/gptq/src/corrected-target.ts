import type { Kernels, ResidualCrossState } from '@q/core';
import type { InputCorrection } from './linear-inputs.js';
import { correctionHelps } from './residual-correction.js';
import { retarget } from './retarget.js';

/** A linear that shall compensate for the errors of earlier ones. */
export interface UncorrectedLinear {
  /** W `[rows, columns]` */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly correction: InputCorrection;
  /** The error of the residual stream; absent when only the inputs are corrected. */
  readonly residual?: ResidualCrossState;
  /** 0 to 1: the share of the correction that is applied. */
  readonly share: number;
}

export interface CorrectedTarget {
  /** `[rows, columns]` */
  readonly target: Float32Array;
  /** True when the error of the residual stream is not corrected, since the correction would make most tokens worse. */
  readonly leftOut: boolean;
}

/**
 * The target of a linear's rounding, `W + share (W' - W)` with W' of {@link retarget}. The right side of its regression
 * comes from the shift of the inputs and the error of the stream, or from the wanted outputs Z if these were collected.
 */
export async function correctedTarget(linear: UncorrectedLinear, kernels: Kernels): Promise<CorrectedTarget> {
  const { weight, rows, correction, residual, share } = linear;
  const n = weight.length / rows;
  const times = (matrix: Float32Array) => kernels.matmul({ a: weight, b: matrix, m: rows, n, k: n });
  const solved = (right: ArrayLike<number>) => retarget(right, rows, correction.factor, kernels);

  let leftOut = false;
  let change: Float32Array | undefined;
  if (residual?.sum.length === rows * n) {
    const toStream = residual.wholeOutput
      ? await toWantedOutput(linear, residual.sum, kernels)
      : await solved(residual.sum);
    if (await correctionHelps({ weight, rows, change: toStream, state: residual, share }, kernels)) change = toStream;
    else leftOut = true;
    // The wanted outputs already contain the shift of the inputs.
    if (residual.wholeOutput) return { target: moved(weight, share, change), leftOut };
  }
  // Applies the factor to the rows of the weight or to the rows of the shift, whichever are fewer.
  const toInputs =
    rows >= n ? await times(await correction.solved(kernels)) : await solved(await times(correction.shift()));
  return { target: moved(moved(weight, share, toInputs), share, change), leftOut };
}

/**
 * The change of the weight for the sum `Z X'^T` of the wanted outputs: `(Z X'^T + W ridge) (H + ridge)^-1 - W`. This is
 * `(Z X'^T - W H) (H + ridge)^-1` without the product with H.
 */
async function toWantedOutput(
  { weight, rows, correction: { ridge, factor } }: UncorrectedLinear,
  sum: Float64Array,
  kernels: Kernels,
): Promise<Float32Array> {
  const n = ridge.length;
  const right = new Float32Array(sum.length);
  for (let start = 0; start < right.length; start += n)
    for (let j = 0; j < n; j++) right[start + j] = sum[start + j] + weight[start + j] * ridge[j];
  const change = await retarget(right, rows, factor, kernels);
  for (let i = 0; i < change.length; i++) change[i] -= weight[i];
  return change;
}

function moved(weight: Float32Array, share: number, change: Float32Array | undefined): Float32Array {
  if (!change) return weight;
  const out = new Float32Array(weight.length);
  for (let i = 0; i < out.length; i++) out[i] = weight[i] + share * change[i];
  return out;
}
