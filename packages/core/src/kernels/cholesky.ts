import type { CholeskyArgs, TriangularSolveArgs } from '../contracts/kernels.js';

/** Reference factorisation, row by row (Cholesky-Banachiewicz), sums in f64. */
export function cholesky({ a, n, form, out = a, order, diagonal }: CholeskyArgs): boolean {
  const factor = out === a && !order ? a : new Float64Array(n * n);
  if (order || factor !== a) {
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) factor[i * n + j] = order ? a[order[i] * n + order[j]] : a[i * n + j];
  }
  diagonal?.forEach((value, i) => {
    factor[i * n + i] = value;
  });
  // A = R R^T with R upper: reverse both axes, take the lower factor, reverse both axes back
  // (docs/reference/papers.md#gptq).
  if (form === 'reversed-upper') factor.reverse();
  const positive = lowerFactor(factor, n);
  if (form === 'reversed-upper') factor.reverse();
  if (factor !== out) out.set(factor);
  return positive;
}

function lowerFactor(a: Float32Array | Float64Array, n: number): boolean {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j];
      for (let p = 0; p < j; p++) sum -= a[i * n + p] * a[j * n + p];
      if (i !== j) {
        a[i * n + j] = sum / a[j * n + j];
      } else {
        if (!(sum > 0)) return false;
        a[i * n + i] = Math.sqrt(sum);
      }
    }
    a.fill(0, i * n + i + 1, (i + 1) * n);
  }
  return true;
}

/** Reference solve of `x op(T) = b` for each row of b by substitution, in f64 sums. */
export function triangularSolve({ t, n, triangle, transpose = false, b, rows }: TriangularSolveArgs): void {
  // x T = b reads T by columns: x_j = (b_j - sum over the other solved i of x_i T_ij) / T_jj. For a lower T column j
  // holds rows i >= j, so the last unknown comes first; transposing swaps the triangles.
  const descending = (triangle === 'lower') !== transpose;
  for (let row = 0; row < rows; row++) {
    const start = row * n;
    for (let step = 0; step < n; step++) {
      const j = descending ? n - 1 - step : step;
      let sum = b[start + j];
      const from = descending ? j + 1 : 0;
      const to = descending ? n : j;
      for (let i = from; i < to; i++) sum -= b[start + i] * (transpose ? t[j * n + i] : t[i * n + j]);
      b[start + j] = sum / t[j * n + j];
    }
  }
}
