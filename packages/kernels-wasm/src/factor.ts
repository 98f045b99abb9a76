import type { CholeskyArgs, TriangularSolveArgs } from '@q/core';
import type { Pool } from './pool.js';

/** Columns of a diagonal block: its triangle (64 x 64 f64 = 32 kB) stays in the first-level cache. */
const blockSize = 64;

/**
 * Blocked Cholesky in f64, whatever the precision of `a`. Only one copy of the matrix is in the memory: rows are copied in
 * their order, columns are put in order there, and the factor is turned round and narrowed where it lies.
 */
export function cholesky(pool: Pool, { a, n, form, out = a, order, diagonal }: CholeskyArgs): boolean {
  pool.reset(8 * (n * n + blockSize * (n + 8) + blockSize ** 2 + n * (pool.threads + 2)) + 65536);
  const shared = pool.f64(n * n);
  const at = shared.byteOffset;
  const reversed = form === 'reversed-upper';
  if (order || diagonal) {
    const rowAt = (i: number) => (reversed ? n - 1 - i : i);
    const ordered = pool.f64(Math.ceil(n / 2));
    const columns = new Int32Array(ordered.buffer, ordered.byteOffset, n);
    const onDiagonal = pool.f64(n);
    for (let i = 0; i < n; i++) {
      const row = rowAt(i);
      columns[i] = order ? order[row] : row;
      onDiagonal[i] = diagonal ? diagonal[row] : a[columns[i] * n + columns[i]];
      shared.set(a.subarray(columns[i] * n, (columns[i] + 1) * n), i * n);
    }
    const scratch = pool.f64(n * pool.threads).byteOffset;
    pool.run('orderColumns', [at, n, columns.byteOffset, onDiagonal.byteOffset, scratch], n, 16);
  } else {
    shared.set(a);
    if (reversed) shared.reverse();
  }
  const packed = pool.f64(blockSize * (n + 8)).byteOffset;
  const block = pool.f64(blockSize ** 2).byteOffset;
  for (let start = 0; start < n; start += blockSize) {
    const size = Math.min(blockSize, n - start);
    if (pool.exports.factorDiagonal(at, n, start, size) === 0) return false;
    const top = start + size;
    if (top === n) break;
    const groups = Math.ceil((n - top) / 4);
    pool.exports.copyDiagonal(at, n, start, size, block);
    pool.run('solvePanel', [at, n, start, size, top, block, packed], groups, 8);
    pool.run('updateTrailing', [at, n, size, top, packed], groups, 8);
  }
  const narrow = out instanceof Float32Array;
  pool.run('finishFactor', [at, n, reversed ? 1 : 0, narrow ? 1 : 0], n, 16);
  for (let i = 0; i < n; i++) {
    const row = (reversed ? n - 1 - i : i) * n;
    out.set(narrow ? new Float32Array(shared.buffer, at + 8 * row, n) : shared.subarray(row, row + n), i * n);
  }
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
