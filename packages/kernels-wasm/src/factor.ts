import type { CholeskyArgs, TriangularSolveArgs } from '@q/core';
import { type Product, panelColumns, product } from './matmul.js';
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
 * Solves `x op(T) = b` for all rows at once, in the precision of `b`. In f64, sums over the solved unknowns are in the
 * order of solving. In f32, they are products over blocks of unknowns.
 */
export function triangularSolve(pool: Pool, args: TriangularSolveArgs): void {
  if (args.rows === 0) return;
  if (args.b instanceof Float64Array) solveWide(pool, args, args.b);
  else solveNarrow(pool, args, args.b);
}

/** Whether the last unknown is solved first. */
const descends = ({ triangle, transpose = false }: TriangularSolveArgs) => (triangle === 'lower') !== transpose;

/** The index of each of `n` unknowns, in the order in which they are solved. */
const solvingOrder = (args: TriangularSolveArgs, n: number = args.n) =>
  descends(args) ? (step: number) => n - 1 - step : (step: number) => step;

/**
 * Unknowns that {@link solveNarrow} solves by the inverse of their block of T. With 128 of them the inverses took more
 * time than the products.
 */
const invertedSize = 64;
/** Rows and columns that are transposed together, so that both sides stay in the first-level cache. */
const transposedAtOnce = 32;

/**
 * Solves blocks of unknowns in f32. Both the contribution of the blocks before and the multiplication with the inverse
 * of the block itself are products. The inverse is computed in f64.
 */
function solveNarrow(pool: Pool, args: TriangularSolveArgs, b: Float32Array): void {
  const { t, n, transpose = false, rows } = args;
  const padded = Math.ceil(rows / panelColumns) * panelColumns;
  const most = Math.min(invertedSize, n);
  pool.reset(4 * (n * n + 2 * n * padded + most * (n + 2 * padded + 2 * most)) + 65536);
  const factor = pool.f32(n * n);
  factor.set(t.subarray(0, n * n));
  const unknowns = pool.f32(n * padded).fill(0);
  const [known, lacking, inverse] = [pool.f32(most * padded), pool.f32(most * padded), pool.f32(most * most)];
  transposeInto(unknowns, padded, { from: b, stride: n, rows, columns: n });
  const [alongOwn, alongOther] = transpose ? [n, 1] : [1, n];
  const times = (a: Pick<Product, 'a' | 'aRow' | 'aColumn' | 'm' | 'k'>, of: Float32Array, c: Float32Array) => {
    const keep = pool.mark();
    product(pool, { ...a, b: of, c, n: padded, bRow: padded, bColumn: 1, accumulate: false, takeA() {} });
    pool.release(keep);
  };
  const descending = descends(args);
  for (let done = 0; done < n; done += most) {
    const size = Math.min(most, n - done);
    const start = descending ? n - done - size : done;
    const own = unknowns.subarray(start * padded, (start + size) * padded);
    lacking.set(own);
    if (done > 0) {
      const other = descending ? n - done : 0;
      const strip = factor.subarray(start * alongOwn + other * alongOther);
      const before = { a: strip, aRow: alongOwn, aColumn: alongOther, m: size, k: done };
      times(before, unknowns.subarray(other * padded), known);
      for (let i = 0; i < own.length; i++) lacking[i]! -= known[i]!;
    }
    inverse.set(invertedBlock(args, start, size));
    times({ a: inverse, aRow: size, aColumn: 1, m: size, k: size }, lacking, own);
  }
  transposeInto(b, n, { from: unknowns, stride: padded, rows: n, columns: rows });
}

/** Writes the transpose of `from` `[rows, columns]` into `to`; the strides are the distances of rows. */
function transposeInto(
  to: Float32Array,
  toStride: number,
  { from, stride, rows, columns }: { from: Float32Array; stride: number; rows: number; columns: number },
): void {
  for (let top = 0; top < rows; top += transposedAtOnce)
    for (let left = 0; left < columns; left += transposedAtOnce)
      for (let row = top; row < Math.min(top + transposedAtOnce, rows); row++)
        for (let column = left; column < Math.min(left + transposedAtOnce, columns); column++)
          to[column * toStride + row] = from[row * stride + column]!;
}

/** The inverse of `op(T)^T` for the unknowns `[start, start + size)`. */
function invertedBlock(args: TriangularSolveArgs, start: number, size: number): Float64Array {
  const { t, n, transpose = false } = args;
  const [alongOwn, alongOther] = transpose ? [n, 1] : [1, n];
  const descending = descends(args);
  const unknown = solvingOrder(args, size);
  const inverse = new Float64Array(size * size);
  const sums = new Float64Array(size);
  for (let step = 0; step < size; step++) {
    const own = unknown(step);
    const coefficients = (start + own) * alongOwn + start * alongOther;
    sums.fill(0);
    sums[own] = 1;
    for (let i = 0; i < step; i++) {
      const other = unknown(i);
      const coefficient = t[coefficients + other * alongOther]!;
      // Row `other` of the inverse is zero for the unknowns that are solved after it.
      const [from, to] = descending ? [other, size] : [0, other + 1];
      for (let column = from; column < to; column++) sums[column]! -= coefficient * inverse[other * size + column]!;
    }
    const pivot = t[coefficients + own * alongOther]!;
    for (let column = 0; column < size; column++) inverse[own * size + column] = sums[column]! / pivot;
  }
  return inverse;
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
