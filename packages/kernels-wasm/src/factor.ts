import type { CholeskyArgs, TriangularSolveArgs } from '@q/core';
import type { BlockArguments, Pool } from './pool.js';

/**
 * Columns of a block: its diagonal block (64 x 64 f64 = 32 kB, of which half is read) stays in the first-level cache.
 */
const blockSize = 64;
/** Rows of a panel of `assembly/cholesky.ts`. */
const panelRows = 8;

/**
 * Blocked Cholesky, left-looking. The memory has only the rows of one block of the matrix, and the whole factor in the
 * requested precision. Blocks are summed, factored and solved in f64. The contribution of earlier columns to an f32
 * factor is summed in f32 over at most 256 columns; then these sums are added in f64.
 */
export function cholesky(pool: Pool, { a, n, form, out = a, order, diagonal }: CholeskyArgs): boolean {
  const reversed = form === 'reversed-upper';
  const narrow = out instanceof Float32Array;
  const panels = Math.ceil(n / panelRows);
  const padded = panels * panelRows;
  const entry = narrow ? 4 : 8;
  pool.reset(entry * padded * n + 8 * blockSize * (n + padded + blockSize) + 12 * n + 65536);
  const rows = pool.f64(blockSize * n);
  const columns = pool.f64(blockSize * padded).byteOffset;
  const block = pool.f64(blockSize ** 2).byteOffset;
  const onDiagonal = pool.f64(n);
  const buffer = pool.f32(n);
  const from = new Int32Array(buffer.buffer, buffer.byteOffset, n);
  const factor = pool.bytes(entry * padded * n).byteOffset;
  for (let i = 0; i < n; i++) {
    const at = reversed ? n - 1 - i : i;
    from[i] = order ? order[at] : at;
    onDiagonal[i] = diagonal ? diagonal[at] : a[from[i] * n + from[i]];
  }
  const kind = narrow ? 1 : 0;
  const takeRows = (start: number) => {
    for (let j = start; j < Math.min(start + blockSize, n); j++)
      rows.set(a.subarray(from[j] * n, (from[j] + 1) * n), (j - start) * n);
  };
  takeRows(0);
  for (let start = 0; start < n; start += blockSize) {
    const size = Math.min(blockSize, n - start);
    const width = Math.ceil(size / panelRows) * panelRows;
    const [orderAt, diagonalAt] = [from.byteOffset, onDiagonal.byteOffset];
    pool.run('takeColumns', [rows.byteOffset, n, start, width, orderAt, diagonalAt, columns], size, 8);
    const below = panels - start / panelRows;
    const next = () => takeRows(start + blockSize);
    if (start > 0) pool.run('subtractEarlier', [factor, n, start, width, kind, columns], below, 4, next);
    else next();
    const blockArgs: BlockArguments = [columns, start, size, width, block, factor, n, kind];
    if (pool.exports.factorBlock(...blockArgs) === 0) return false;
    if (start + size === n) break;
    pool.run('solveBelow', blockArgs, below - size / panelRows, 4);
  }
  const resident = pool.addressOf(out);
  // Rows of the factor leave through the memory of the matrix's rows.
  const atOnce = resident === undefined ? (blockSize * 8) / (panelRows * entry) : panels;
  const leaving = narrow ? new Float32Array(rows.buffer, rows.byteOffset, 2 * rows.length) : rows;
  for (let panel = 0; panel < panels; panel += atOnce) {
    const count = Math.min(atOnce, panels - panel);
    const [first, end] = [panel * panelRows, Math.min((panel + count) * panelRows, n)];
    const top = reversed ? n - end : first;
    const to = resident ?? rows.byteOffset - top * n * entry;
    pool.run('unpackRows', [factor, n, panel, reversed ? 1 : 0, kind, to], count, 1);
    if (resident === undefined) out.set(leaving.subarray(0, (end - first) * n), top * n);
  }
  return true;
}

/**
 * Panels of rows that are solved together: panels of 1,536 unknowns have 393 kB, which stay in the second-level cache.
 */
const solvedPanels = 4;

/**
 * Solves `x op(T) = b` for all rows at once, in the precision of `b`. Sums over the solved unknowns are in the order of
 * solving.
 */
export function triangularSolve(pool: Pool, args: TriangularSolveArgs): void {
  if (args.rows === 0) return;
  if (args.b instanceof Float64Array) solveWide(pool, args, args.b);
  else solveNarrow(pool, args, args.b);
}

/** The index of each unknown, in the order in which they are solved. */
const solvingOrder = ({ n, triangle, transpose = false }: TriangularSolveArgs) =>
  (triangle === 'lower') !== transpose ? (step: number) => n - 1 - step : (step: number) => step;

function solveNarrow(pool: Pool, args: TriangularSolveArgs, b: Float32Array): void {
  const { t, n, triangle, transpose = false, rows } = args;
  const padded = Math.ceil(rows / 8) * 8;
  pool.reset(4 * (n * n + n * padded) + 65536);
  const coefficients = pool.f32(n * n);
  const columns = pool.f32(n * padded);
  const descending = (triangle === 'lower') !== transpose;
  const unknown = solvingOrder(args);
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
    'solveRows32',
    [coefficients.byteOffset, n, columns.byteOffset, padded, descending ? 1 : 0],
    padded,
    8 * Math.ceil(padded / 64),
  );
  for (let row = 0; row < rows; row++) for (let j = 0; j < n; j++) b[row * n + j] = columns[j * padded + row];
}

/** Solves in panels of 8 unknowns and 8 rows, see `assembly/triangular-solve.ts`. */
function solveWide(pool: Pool, args: TriangularSolveArgs, b: Float64Array): void {
  const { t, n, transpose = false, rows } = args;
  const width = Math.ceil(n / panelRows) * panelRows;
  const panels = Math.ceil(rows / panelRows);
  pool.reset(8 * width * (width + panels * panelRows) + 65536);
  const coefficients = pool.f64(width * width);
  const solved = pool.f64(panels * panelRows * width).fill(0);
  const unknown = solvingOrder(args);
  const [alongStep, alongOther] = transpose ? [n, 1] : [1, n];
  for (let step = 0; step < n; step++) {
    const own = unknown(step) * alongStep;
    const at = (step - (step % panelRows)) * width + (step % panelRows);
    for (let i = 0; i <= step; i++) coefficients[at + i * panelRows] = t[own + unknown(i) * alongOther];
  }
  for (let step = n; step < width; step++) {
    const at = (step - (step % panelRows)) * width + (step % panelRows);
    for (let i = 0; i < step; i++) coefficients[at + i * panelRows] = 0;
    coefficients[at + step * panelRows] = 1;
  }
  for (let row = 0; row < rows; row++) {
    const at = (row - (row % panelRows)) * width + (row % panelRows);
    for (let step = 0; step < n; step++) solved[at + step * panelRows] = b[row * n + unknown(step)];
  }
  pool.run('solveRows64', [coefficients.byteOffset, width, solved.byteOffset], panels, solvedPanels);
  for (let row = 0; row < rows; row++) {
    const at = (row - (row % panelRows)) * width + (row % panelRows);
    for (let step = 0; step < n; step++) b[row * n + unknown(step)] = solved[at + step * panelRows];
  }
}
