import type { MatmulArgs } from '@q/core';
import type { Pool } from './pool.js';

/** Rows of A and columns of B in a panel of `assembly/matmul.ts`. */
export const panelRows = 4;
export const panelColumns = 8;
/** Depth of a packed block in `assembly/matmul.ts`. */
export const blockDepth = 256;
/** Panels of A a tile at most: 96 rows of 256 values are 98 kB, which stay in the second-level cache. */
export const tilePanels = 24;
/**
 * Panels of A a tile: the number of tiles is a multiple of the number of threads, so no thread waits for the last
 * tiles.
 */
export const tileSize = (panels: number, threads: number) =>
  Math.ceil(panels / (threads * Math.ceil(panels / (threads * tilePanels))));
/** Panels of B that are packed at a time. */
export const packedAtOnce = 16;
/** Largest part of A or C that is copied in at once, in values. */
const chunkValues = 4 << 20;

export interface Product {
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
  readonly accumulate: boolean;
  /** Copies the values of A into the shared memory. */
  readonly takeA: () => void;
}

/** C (+)= A B, all of them in the shared memory. The strides give the layouts of A and B; one stride of each is 1. */
export function product(
  pool: Pool,
  { a, aRow, aColumn, b, bRow, bColumn, c, m, n, k, accumulate, takeA }: Product,
): void {
  const rowPanels = Math.ceil(m / panelRows);
  const columnPanels = Math.ceil(n / panelColumns);
  const packedA = pool.f32(rowPanels * panelRows * k).byteOffset;
  const packedB = pool.f32(columnPanels * panelColumns * k).byteOffset;
  const tile = tileSize(rowPanels, pool.threads);
  pool.run('packB', [b.byteOffset, bRow, bColumn, n, k, packedB], columnPanels, packedAtOnce, takeA);
  pool.run('packA', [a.byteOffset, aRow, aColumn, m, k, packedA], rowPanels, tile);
  pool.run('matmulTile', [packedA, packedB, c.byteOffset, m, n, k, 0, accumulate ? 1 : 0], rowPanels, tile);
}

/** Large products go through the shared memory in chunks of rows of C. */
export function matmul(pool: Pool, args: MatmulArgs): Float32Array {
  const { a, b, m, n, k, transposeA = false, transposeB = false, accumulate = false } = args;
  const out = args.out ?? new Float32Array(m * n);
  if (m === 0 || n === 0) return out;
  if (k === 0) return accumulate ? out : out.fill(0);
  // The rows of a transposed A are columns in memory, so such an A is copied whole; any other A is copied in chunks of
  // rows.
  const rows = transposeA ? m : Math.max(panelRows * tilePanels, Math.floor(chunkValues / Math.max(k, n)));
  pool.reset(4 * (2 * k * (n + 8) + (Math.min(rows, m) + 4) * (2 * k + n)) + 65536);
  const sharedB = pool.f32(k * n);
  sharedB.set(b.subarray(0, k * n));
  const mark = Math.min(rows, m);
  const sharedA = pool.f32(mark * k);
  const sharedC = pool.f32(mark * n);
  for (let start = 0; start < m; start += rows) {
    const size = Math.min(rows, m - start);
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
      accumulate,
      takeA: () => sharedA.set(transposeA ? a.subarray(0, k * m) : a.subarray(start * k, (start + size) * k)),
    });
    pool.release(keep);
    out.set(size === mark ? sharedC : sharedC.subarray(0, size * n), start * n);
  }
  return out;
}
