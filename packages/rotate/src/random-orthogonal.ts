import type { Random } from '@q/core';

/**
 * A random orthogonal matrix `[n, n]`, row-major: the rows of a standard normal matrix, made orthonormal one after the
 * other (uniform over the orthogonal group, as the Q of a QR with positive diagonal). Each row is orthogonalized twice,
 * which keeps `Q Q^T = I` to a few units of f64 rounding.
 */
export function randomOrthogonal(n: number, random: Random): Float64Array {
  const q = new Float64Array(n * n);
  for (let row = 0; row < n; row++) {
    const current = q.subarray(row * n, (row + 1) * n);
    for (let i = 0; i < n; i++) current[i] = random.normal();
    for (let pass = 0; pass < 2; pass++) {
      for (let earlier = 0; earlier < row; earlier++) {
        const other = q.subarray(earlier * n, (earlier + 1) * n);
        const share = dot(current, other);
        for (let i = 0; i < n; i++) current[i] -= share * other[i];
      }
      const norm = Math.sqrt(dot(current, current));
      for (let i = 0; i < n; i++) current[i] /= norm;
    }
  }
  return q;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
