import type { CholeskyArgs, TriangularSolveArgs } from '@q/core';
import type { Pool } from './pool.js';

/** Columns of a diagonal block: its triangle (64 x 64 f64 = 32 kB) stays in the first-level cache. */
const blockSize = 64;

/** Blocked Cholesky in f64, whatever the precision of `a`. */
export function cholesky(pool: Pool, { a, n, form }: CholeskyArgs): boolean {
  pool.reset(8 * (n * n + blockSize * (n + 8)) + 65536);
  const shared = pool.f64(n * n);
  shared.set(a);
  if (form === 'reversed-upper') shared.reverse();
  const packed = pool.f64(blockSize * (n + 8)).byteOffset;
  const at = shared.byteOffset;
  for (let start = 0; start < n; start += blockSize) {
    const size = Math.min(blockSize, n - start);
    if (pool.exports.factorDiagonal(at, n, start, size) === 0) return false;
    const top = start + size;
    if (top === n) break;
    const groups = Math.ceil((n - top) / 4);
    pool.run('solvePanelRow', [at, n, start, size, top], n - top, 32);
    pool.run('packPanel', [at, n, start, size, top, packed], groups, 16);
    pool.run('updateTrailing', [at, n, size, top, packed], groups, 8);
  }
  for (let i = 0; i < n; i++) shared.fill(0, i * n + i + 1, (i + 1) * n);
  if (form === 'reversed-upper') shared.reverse();
  a.set(shared);
  return true;
}

/** `x op(T) = b` for all rows at once, in the precision of `b`; sums over the solved unknowns in the order of solving. */
export function triangularSolve(pool: Pool, { t, n, triangle, transpose = false, b, rows }: TriangularSolveArgs): void {
  const padded = Math.ceil(rows / 8) * 8;
  const wide = b instanceof Float64Array;
  pool.reset(8 * (n * n + n * padded) + 65536);
  const coefficients = wide ? pool.f64(n * n) : pool.f32(n * n);
  const columns = wide ? pool.f64(n * padded) : pool.f32(n * padded);
  const descending = (triangle === 'lower') !== transpose;
  const unknown = (step: number) => (descending ? n - 1 - step : step);
  for (let step = 0; step < n; step++) {
    const j = unknown(step);
    for (let i = 0; i <= step; i++) {
      const other = unknown(i);
      coefficients[step * n + i] = transpose ? t[j * n + other] : t[other * n + j];
    }
  }
  for (let row = 0; row < rows; row++) for (let j = 0; j < n; j++) columns[j * padded + row] = b[row * n + j];
  for (let j = 0; j < n; j++) columns.fill(0, j * padded + rows, (j + 1) * padded);
  pool.run(
    wide ? 'solveRows64' : 'solveRows32',
    [coefficients.byteOffset, n, columns.byteOffset, padded, descending ? 1 : 0],
    padded,
    8 * Math.ceil(padded / 64),
  );
  for (let row = 0; row < rows; row++) for (let j = 0; j < n; j++) b[row * n + j] = columns[j * padded + row];
}
