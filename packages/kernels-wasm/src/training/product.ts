import type { Heap } from '../forward/heap.js';
import { packedAtOnce, panelColumns, panelRows, tileSize } from '../matmul.js';
import type { Pool } from '../pool.js';

/**
 * A matrix in the pool's memory: its address, and the distances of its rows and of its columns, in values. One of the
 * two distances is 1.
 */
export interface Strided {
  readonly at: number;
  readonly row: number;
  readonly column: number;
}

export const rowMajor = (at: number, width: number): Strided => ({ at, row: width, column: 1 });
export const transposed = ({ at, row, column }: Strided): Strided => ({ at, row: column, column: row });

/**
 * `out[m,n] = a[m,k] b[k,n] + bias`. Both operands are packed for this product only; sums are in the order of
 * `matmulTile`.
 */
export function createProduct(pool: Pool, heap: Heap) {
  return (a: Strided, b: Strided, out: number, { m, n, k }: Readonly<Record<'m' | 'n' | 'k', number>>, bias = 0) => {
    const [rowPanels, columnPanels] = [Math.ceil(m / panelRows), Math.ceil(n / panelColumns)];
    const packedA = heap.allocate(4 * rowPanels * panelRows * k);
    const packedB = heap.allocate(4 * columnPanels * panelColumns * k);
    const grain = tileSize(rowPanels, pool.threads);
    pool.run('packA', [a.at, a.row, a.column, m, k, packedA], rowPanels, grain);
    pool.run('packB', [b.at, b.row, b.column, n, k, packedB], columnPanels, Math.min(packedAtOnce, grain));
    pool.run('matmulTile', [packedA, packedB, out, m, n, k, bias, 0], rowPanels, grain);
    heap.free(packedA);
    heap.free(packedB);
  };
}
