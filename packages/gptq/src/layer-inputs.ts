import type { HessianState, InputShiftState, Kernels } from '@q/core';
import { type Factorization, factorize } from './factorize.js';

/** What linears of the same inputs have in common. The f32 factor lies where the kernels compute, and is written there for each. */
export interface LayerInputs {
  readonly factorization: Factorization;
  /** What corrects for earlier errors; absent when no token went through the unquantized model. */
  readonly correction?: InputCorrection;
}

/** Both matrices of the regression on the inputs, of the same tokens, columns in the order of the factor. */
interface InputCorrection {
  /** `C - H` `[n, n]`. Row: feature of the unquantized inputs. */
  readonly shift: Float32Array;
  /** R of `H + ridge I = R R^T`, f64, upper triangular `[n, n]`. */
  readonly factor: Float64Array;
  /** `(C - H) (H + ridge I)^-1` `[n, n]`. */
  solved(kernels: Kernels): Promise<Float32Array>;
}

interface Wanted {
  readonly damping: number;
  readonly permutation: Int32Array;
  /** Where the f32 factor goes. */
  readonly buffer: Float32Array;
  readonly shift: InputShiftState;
}

interface Known {
  readonly count: number;
  readonly damping: number;
  readonly permutation: Int32Array;
  /** Of the whole Hessian. */
  readonly factor: Float64Array | Float32Array;
  readonly inputs: LayerInputs;
}

/** By the sums of a Hessian, as long as somebody holds these. */
const known = new WeakMap<object, Known>();

/** Computed for the first of the linears that share a Hessian. @throws NumericError as {@link factorize} */
export async function layerInputs(
  hessian: HessianState,
  { damping, permutation, buffer, shift: state }: Wanted,
  kernels: Kernels,
): Promise<LayerInputs> {
  const found = known.get(hessian.sum);
  const same =
    found?.count === hessian.count &&
    found.damping === damping &&
    found.permutation.every((column, j) => column === permutation[j]);
  if (found && same) {
    buffer.set(found.factor);
    return { ...found.inputs, factorization: { ...found.inputs.factorization, factor: buffer } };
  }
  // Where all tokens went through both models one factor serves both purposes.
  const own = state.count > 0 && state.count < hessian.count ? state.inputs : undefined;
  const factorization = await factorize(hessian.sum, permutation, damping, kernels, {
    factor: buffer,
    exact: state.count > 0 && !own,
    damped: true,
  });
  const regression = own
    ? await factorize(own, permutation, damping, kernels, { exact: true, damped: false })
    : factorization;
  const factor = regression.exact;
  const inputs: LayerInputs = {
    factorization,
    ...(factor ? { correction: correctionOf(shiftOf(state, permutation), factor) } : {}),
  };
  const kept = factorization.exact ?? buffer.slice();
  known.set(hessian.sum, { count: hessian.count, damping, permutation, factor: kept, inputs });
  return inputs;
}

function correctionOf(shift: Float32Array, factor: Float64Array): InputCorrection {
  let solution: Promise<Float32Array> | undefined;
  return {
    shift,
    factor,
    solved(kernels) {
      solution ??= solve(shift, factor, kernels);
      return solution;
    },
  };
}

/** `C - H` as f32, both axes permuted. */
export function shiftOf({ sum }: InputShiftState, permutation: Int32Array): Float32Array {
  const n = permutation.length;
  const shift = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    const from = permutation[i] * n;
    for (let j = 0; j < n; j++) shift[i * n + j] = sum[from + permutation[j]];
  }
  return shift;
}

async function solve(shift: Float32Array, factor: Float64Array, kernels: Kernels): Promise<Float32Array> {
  const b = Float64Array.from(shift);
  const n = Math.sqrt(shift.length);
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', transpose: true, b, rows: n });
  await kernels.triangularSolve({ t: factor, n, triangle: 'upper', b, rows: n });
  return Float32Array.from(b);
}
