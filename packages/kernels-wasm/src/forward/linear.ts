import { ShapeError } from '@q/core';
import type { Pool } from '../pool.js';
import type { Heap } from './heap.js';
import type { Value, Values } from './values.js';

const panelRows = 4;
const panelColumns = 8;
const blockDepth = 256;
/** Panels of 4 rows a tile. */
const tilePanels = 24;
/** Weight panels packed at a time by a thread. */
const packedAtOnce = 8;

/**
 * `x W^T + bias`. A weight is packed into panels when it is first used and keeps them as long as it lives: every batch
 * after the first one finds it ready.
 */
export function createLinear(pool: Pool, heap: Heap, values: Values) {
  const panelsOf = (weight: Value, n: number, k: number): number => {
    const { buffer } = weight;
    if (buffer.panels !== undefined) return buffer.panels;
    const panels = Math.ceil(n / panelColumns);
    const at = heap.allocate(4 * panels * panelColumns * k);
    for (let start = 0; start < k; start += blockDepth) {
      const depth = Math.min(blockDepth, k - start);
      const to = at + 4 * panels * panelColumns * start;
      pool.run('packB', [buffer.address + 4 * start, 1, k, n, depth, to], panels, packedAtOnce);
    }
    buffer.panels = at;
    return at;
  };

  return (x: Value, weight: Value, bias?: Value): Value => {
    const [n, k] = weight.shape;
    if (x.shape.at(-1) !== k)
      throw new ShapeError(`linear: input [${x.shape}] does not fit the weight [${weight.shape}] ([out, in])`);
    const m = x.count / k;
    const out = values.make([...x.shape.slice(0, -1), n]);
    const columns = Math.ceil(n / panelColumns) * panelColumns;
    const packedB = panelsOf(weight, n, k);
    const panels = Math.ceil(m / panelRows);
    const packedA = heap.allocate(4 * panels * panelRows * Math.min(blockDepth, k));
    const grain = Math.min(tilePanels, Math.max(1, Math.ceil(panels / (2 * pool.threads))));
    for (let start = 0; start < k; start += blockDepth) {
      const depth = Math.min(blockDepth, k - start);
      pool.run('packA', [x.buffer.address + 4 * start, k, 1, m, depth, packedA], panels, grain);
      pool.run(
        'matmulTile',
        [
          ...[packedA, packedB + 4 * columns * start, out.buffer.address, m, n, depth],
          ...[bias && start === 0 ? bias.buffer.address : 0, start > 0 ? 1 : 0, 0],
        ],
        panels,
        grain,
      );
    }
    heap.free(packedA);
    return out;
  };
}
