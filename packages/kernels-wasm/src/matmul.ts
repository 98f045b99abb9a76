import type { GramArgs, MatmulArgs } from '@q/core';
import type { Pool } from './pool.js';

/** Rows of A and columns of B in a panel of `assembly/matmul.ts`. */
export const panelRows = 4;
export const panelColumns = 8;
/** Depth of a packed block there. */
export const blockDepth = 256;
/** Panels of A a tile: 96 rows of 256 values are 98 kB, which stay in the second-level cache. */
export const tilePanels = 24;
/** Panels of B that are packed at a time. */
export const packedAtOnce = 16;
/** Largest part of A or C that is copied in at once, in values. */
const chunkValues = 4 << 20;

interface Product {
  readonly a: Float32Array;
  readonly aRow: number;
  readonly aColumn: number;
  readonly b: Float32Array;
  readonly bRow: number;
  readonly bColumn: number;
  readonly c: Float32Array;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly upper: boolean;
  readonly accumulate: boolean;
}

/** C (+)= A B, all of them in the shared memory; A and B by their strides, one of which is 1. */
function product(pool: Pool, { a, aRow, aColumn, b, bRow, bColumn, c, m, n, k, upper, accumulate }: Product): void {
  const rowPanels = Math.ceil(m / panelRows);
  const columnPanels = Math.ceil(n / panelColumns);
  const packedA = pool.f32(rowPanels * panelRows * k).byteOffset;
  const packedB = pool.f32(columnPanels * panelColumns * k).byteOffset;
  pool.run('packA', [a.byteOffset, aRow, aColumn, m, k, packedA], rowPanels, tilePanels);
  pool.run('packB', [b.byteOffset, bRow, bColumn, n, k, packedB], columnPanels, packedAtOnce);
  pool.run(
    'matmulTile',
    [packedA, packedB, c.byteOffset, m, n, k, 0, accumulate ? 1 : 0, upper ? 1 : 0],
    rowPanels,
    upper ? tilePanels / 2 : tilePanels,
  );
}

/** Large products go through the shared memory in chunks of rows of C. */
export function matmul(pool: Pool, args: MatmulArgs): Float32Array {
  const { a, b, m, n, k, transposeA = false, transposeB = false, accumulate = false } = args;
  const out = args.out ?? new Float32Array(m * n);
  if (m === 0 || n === 0) return out;
  if (k === 0) return accumulate ? out : out.fill(0);
  // A transposed A has its rows along the columns of the file order: it is copied in whole, else row chunk by row chunk.
  const rows = transposeA ? m : Math.max(panelRows * tilePanels, Math.floor(chunkValues / Math.max(k, n)));
  pool.reset(4 * (2 * k * (n + 8) + (Math.min(rows, m) + 4) * (2 * k + n)) + 65536);
  const sharedB = pool.f32(k * n);
  sharedB.set(b.subarray(0, k * n));
  const mark = Math.min(rows, m);
  const sharedA = pool.f32(mark * k);
  const sharedC = pool.f32(mark * n);
  for (let start = 0; start < m; start += rows) {
    const size = Math.min(rows, m - start);
    sharedA.set(transposeA ? a.subarray(0, k * m) : a.subarray(start * k, (start + size) * k));
    if (accumulate) sharedC.set(out.subarray(start * n, (start + size) * n));
    const keep = pool.mark();
    product(pool, {
      a: sharedA,
      aRow: transposeA ? 1 : k,
      aColumn: transposeA ? m : 1,
      b: sharedB,
      bRow: transposeB ? 1 : n,
      bColumn: transposeB ? k : 1,
      c: sharedC,
      m: size,
      n,
      k,
      upper: false,
      accumulate,
    });
    pool.release(keep);
    out.set(size === mark ? sharedC : sharedC.subarray(0, size * n), start * n);
  }
  return out;
}

/** Tokens that are summed in f32 before they are added to `out`. */
const gramTokens = 2048;
/** Tokens of them that lie in the memory at a time, as they are and in panels of both operands. */
const gramPart = 1024;

/** Gram matrix: f32 sums over at most 2,048 tokens, upper triangle only, then added to `out` in its precision and mirrored. */
export function gram(pool: Pool, { x, tokens, width, out }: GramArgs): void {
  for (let start = 0; start < tokens; start += gramTokens) {
    const end = Math.min(start + gramTokens, tokens);
    const part = Math.min(gramPart, end - start);
    pool.reset(4 * (3 * part * (width + 16) + width * width) + 65536);
    const sum = pool.f32(width * width);
    const shared = pool.f32(part * width);
    const keep = pool.mark();
    for (let first = start; first < end; first += part) {
      const size = Math.min(part, end - first);
      shared.set(x.subarray(first * width, (first + size) * width));
      product(pool, {
        a: shared,
        aRow: 1,
        aColumn: width,
        b: shared,
        bRow: width,
        bColumn: 1,
        c: sum,
        m: width,
        n: width,
        k: size,
        upper: true,
        accumulate: first > start,
      });
      pool.release(keep);
    }
    addSymmetric(sum, out, width);
  }
}

/** Adds the upper triangle of `sum` to both triangles of `out`, in squares that stay in the first-level cache. */
function addSymmetric(sum: Float32Array, out: Float32Array | Float64Array, n: number): void {
  const side = 32;
  for (let top = 0; top < n; top += side) {
    const bottom = Math.min(top + side, n);
    for (let left = top; left < n; left += side) {
      const right = Math.min(left + side, n);
      for (let i = top; i < bottom; i++) {
        for (let j = Math.max(left, i), at = i * n + j; j < right; j++, at++) out[at] += sum[at];
      }
      for (let j = left; j < right; j++) {
        for (let i = top; i < Math.min(j, bottom); i++) out[j * n + i] = out[i * n + j];
      }
    }
  }
}
