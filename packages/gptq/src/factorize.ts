import { type Kernels, NumericError } from '@q/core';

/** `H = R R^T` of the damped, permuted Hessian, and the damping that it needed. */
export interface Factorization {
  /** R, upper triangular `[n, n]`. */
  readonly factor: Float32Array;
  /** The damped Hessian, f32 `[n, n]`, columns in their own order. Absent unless requested. */
  readonly damped?: Float32Array;
  /** Its diagonal. */
  readonly diagonal: Float32Array;
  /** Share of the mean diagonal that was added. */
  readonly damping: number;
  /** Number of times that the damping was raised. */
  readonly retries: number;
  /** Columns whose inputs were always zero. */
  readonly deadColumns: number;
}

const maxRetries = 6;

/**
 * Factors `H + damping * mean(diag H) * I` with rows and columns in the order `permutation`. A dead column (`H_jj = 0`)
 * gets the mean as its diagonal, so it is rounded to nearest. When the factorisation fails, it is tried again with ten
 * times the damping, from the original Hessian (docs/reference/papers.md#gptq, robustness).
 * @throws NumericError when the Hessian is not finite or no damping helps
 */
export async function factorize(
  hessian: Float32Array | Float64Array,
  permutation: Int32Array,
  damping: number,
  kernels: Kernels,
  keep: {
    /** Receives the factor `[n, n]`; a new array when absent. */
    readonly factor?: Float32Array;
    readonly damped: boolean;
  },
): Promise<Factorization> {
  const n = permutation.length;
  let sum = 0;
  let deadColumns = 0;
  for (let j = 0; j < n; j++) {
    const diagonal = hessian[j * n + j];
    if (!Number.isFinite(diagonal) || diagonal < 0) {
      throw new NumericError(
        `the Hessian has ${diagonal} on its diagonal at feature ${j}: the linear's calibration inputs overflow or are broken`,
      );
    }
    if (diagonal === 0) deadColumns++;
    sum += diagonal;
  }
  const mean = sum > 0 ? sum / n : 1;
  const factor = keep.factor ?? new Float32Array(n * n);
  let share = damping;
  for (let retries = 0; retries <= maxRetries; retries++, share = Math.max(share * 10, 1e-4)) {
    const diagonal = Float64Array.from(permutation, (j) => (hessian[j * n + j] || mean) + share * mean);
    if (await kernels.cholesky({ a: hessian, n, form: 'reversed-upper', order: permutation, diagonal, out: factor })) {
      return {
        factor,
        ...(keep.damped ? { damped: withDiagonal(hessian, permutation, diagonal) } : {}),
        ...{ diagonal: Float32Array.from(diagonal), damping: share, retries, deadColumns },
      };
    }
  }
  throw new NumericError(
    `the Hessian of ${n} features could not be factored even with damping ${share / 10}: use more calibration windows`,
  );
}

/** The matrix that was factored, columns in their own order. */
function withDiagonal(a: Float32Array | Float64Array, order: Int32Array, diagonal: Float64Array): Float32Array {
  const n = order.length;
  const out = new Float32Array(a);
  for (let i = 0; i < n; i++) out[order[i] * (n + 1)] = diagonal[i];
  return out;
}
