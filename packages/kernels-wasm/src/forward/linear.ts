import { ShapeError } from '@q/core';
import { packedAtOnce, panelColumns, panelRows, tilePanels } from '../matmul.js';
import type { Pool } from '../pool.js';
import type { Heap } from './heap.js';
import type { Value, Values } from './values.js';

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
    pool.run('packB', [buffer.address, 1, k, n, k, at], panels, packedAtOnce);
    buffer.panels = at;
    return at;
  };

  return (x: Value, weight: Value, bias?: Value): Value => {
    const [n, k] = weight.shape;
    if (x.shape.at(-1) !== k)
      throw new ShapeError(`linear: input [${x.shape}] does not fit the weight [${weight.shape}] ([out, in])`);
    const m = x.count / k;
    const out = values.make([...x.shape.slice(0, -1), n]);
    const packedB = panelsOf(weight, n, k);
    const panels = Math.ceil(m / panelRows);
    const packedA = heap.allocate(4 * panels * panelRows * k);
    const grain = Math.min(tilePanels, Math.max(1, Math.ceil(panels / (2 * pool.threads))));
    const row = bias ? bias.buffer.address : 0;
    pool.run('packA', [x.buffer.address, k, 1, m, k, packedA], panels, grain);
    pool.run('matmulTile', [packedA, packedB, out.buffer.address, m, n, k, row, 0, 0], panels, grain);
    heap.free(packedA);
    return out;
  };
}
