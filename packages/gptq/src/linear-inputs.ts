import type { HessianState, InputShiftState, Kernels } from '@q/core';
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

/** Both matrices of the regression on the inputs, from the same tokens, with columns in the order of the factor. */
export interface InputCorrection {
  /** `C - H` `[n, n]`. Row: feature of the unquantized inputs. */
  shift(): Float32Array;
  /** H `[n, n]`. */
  gram(): Float32Array;
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
    ...(state.count > 0 ? { correction: await openCorrection(state, hessian, permutation, damping, kernels) } : {}),
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
  permutation: Int32Array,
  damping: number,
  kernels: Kernels,
): Promise<InputCorrection> {
  // If all tokens went through both models, the Hessian is that of the regression.
  const gram = state.count < hessian.count && state.inputs ? state.inputs : hessian.sum;
  const ridge = Math.max(damping, Math.min(0.5, (ridgePerFeature * permutation.length) / state.count));
  const { factor } = await factorize(gram, permutation, ridge, kernels, { damped: false });
  return correctionOf(state, gram, permutation, factor);
}

/**
 * @param gram H of the tokens that went through the unquantized model, columns in their own order
 * @param factor R of `H + ridge I = R R^T`, in the order of the permutation
 */
export function correctionOf(
  state: InputShiftState,
  gram: ArrayLike<number>,
  permutation: Int32Array,
  factor: Float32Array,
): InputCorrection {
  let solution: Promise<Float32Array> | undefined;
  return {
    shift: () => shiftOf(state, permutation),
    gram: () => reordered(gram, permutation),
    factor,
    solved(kernels) {
      solution ??= retarget(shiftOf(state, permutation), permutation.length, factor, kernels);
      return solution;
    },
  };
}

/** `C - H` as f32, both axes permuted. */
export function shiftOf({ sum }: InputShiftState, permutation: Int32Array): Float32Array {
  return reordered(sum, permutation);
}

/** A square matrix as f32, both axes permuted. */
function reordered(matrix: ArrayLike<number>, permutation: Int32Array): Float32Array {
  const n = permutation.length;
  const out = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    const from = permutation[i] * n;
    for (let j = 0; j < n; j++) out[i * n + j] = matrix[from + permutation[j]];
  }
  return out;
}
