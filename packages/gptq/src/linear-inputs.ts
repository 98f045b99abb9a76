import type { HessianState, InputShiftState, Kernels } from '@q/core';
import { naturalOrder } from './column-order.js';
import { type Factorization, factorize } from './factorize.js';
import { retarget } from './retarget.js';

/**
 * The parts that linears with the same inputs share. The f32 factor is in the kernels' memory, and is written there for
 * each linear.
 */
export interface LinearInputs {
  readonly factorization: Factorization;
  /** Corrects for earlier errors; absent when no token went through the unquantized model. */
  readonly correction?: InputCorrection;
}

/** The regression on the inputs, with features in their own order. H and C are of the same tokens. */
export interface InputCorrection {
  /** `C - H` `[n, n]`. Row: feature of the unquantized inputs. */
  shift(): Float32Array;
  /** What is added to the diagonal of H `[n]`. */
  readonly ridge: Float64Array;
  /** R of `H + ridge I = R R^T`, upper triangular `[n, n]`. */
  readonly factor: Float32Array;
  /** `(C - H) (H + ridge I)^-1` `[n, n]`. */
  solved(kernels: Kernels): Promise<Float32Array>;
}

interface Wanted {
  readonly damping: number;
  readonly permutation: Int32Array;
  /** Receives the f32 factor. */
  readonly buffer: Float32Array;
  readonly shift: InputShiftState;
}

interface Known {
  readonly count: number;
  readonly damping: number;
  readonly permutation: Int32Array;
  /** Of the whole Hessian. */
  readonly factor: Float32Array;
  readonly inputs: LinearInputs;
}

/** Keyed by the sums of a Hessian; an entry lives as long as these sums do. */
const known = new WeakMap<object, Known>();

/**
 * Computed for the first of the linears that share a Hessian.
 * @throws NumericError as {@link factorize}
 */
export async function linearInputs(
  hessian: HessianState,
  { damping, permutation, buffer, shift: state }: Wanted,
  kernels: Kernels,
): Promise<LinearInputs> {
  const found = known.get(hessian.sum);
  const same =
    found?.count === hessian.count &&
    found.damping === damping &&
    found.permutation.every((column, j) => column === permutation[j]);
  if (found && same) {
    buffer.set(found.factor);
    return { ...found.inputs, factorization: { ...found.inputs.factorization, factor: buffer } };
  }
  const factorization = await factorize(hessian.sum, permutation, damping, kernels, {
    factor: buffer,
    damped: true,
  });
  const inputs: LinearInputs = {
    factorization,
    ...(state.count > 0 ? { correction: await openCorrection(state, hessian, damping, kernels) } : {}),
  };
  known.set(hessian.sum, { count: hessian.count, damping, permutation, factor: buffer.slice(), inputs });
  return inputs;
}

/**
 * The ridge of the regression on the inputs is this times features over tokens, as a share of the mean diagonal. With
 * fewer tokens the regression fits more noise. Hoerl, Kennard and Baldwin (1975) choose a ridge in proportion to
 * features over tokens. Measured on the first six blocks of SmolLM2-135M (3 bits, groups of 64):
 * docs/speed.md#where-the-time-of-a-run-goes.
 */
const ridgePerFeature = 4;

/**
 * The regression of the unquantized model's inputs on the linear's inputs.
 * @param damping at least this share of the mean diagonal is added
 */
export async function openCorrection(
  state: InputShiftState,
  hessian: HessianState,
  damping: number,
  kernels: Kernels,
): Promise<InputCorrection> {
  // If all tokens went through both models, the Hessian is that of the regression.
  const gram = state.count < hessian.count && state.inputs ? state.inputs : hessian.sum;
  const ridge = Math.max(damping, Math.min(0.5, (ridgePerFeature * hessian.width) / state.count));
  const factored = await factorize(gram, naturalOrder(hessian.width), ridge, kernels, { damped: false });
  return correctionOf(state, gram, factored);
}

/**
 * @param gram H of the tokens that went through the unquantized model
 * @param factored R of `H + ridge I = R R^T`
 */
export function correctionOf(
  state: InputShiftState,
  gram: ArrayLike<number>,
  { factor, diagonal }: Pick<Factorization, 'factor' | 'diagonal'>,
): InputCorrection {
  let solution: Promise<Float32Array> | undefined;
  return {
    shift: () => Float32Array.from(state.sum),
    ridge: Float64Array.from(diagonal, (damped, j) => damped - gram[j * (state.width + 1)]),
    factor,
    solved(kernels) {
      solution ??= retarget(state.sum, state.width, factor, kernels);
      return solution;
    },
  };
}
