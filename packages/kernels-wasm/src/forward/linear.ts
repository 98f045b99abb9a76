import { ShapeError } from '@q/core';
import { packedAtOnce, panelColumns, panelRows, tileSize } from '../matmul.js';
import type { Pool } from '../pool.js';
import type { Heap } from './heap.js';
import type { Value, Values } from './values.js';

/**
 * `x W^T + bias`. A weight is packed into panels on its first use and stays packed until it is disposed of. Later
 * batches use the panels, and the weight takes no more memory than before.
 */
export function createLinear(pool: Pool, heap: Heap, values: Values) {
  const panelsOf = (weight: Value, n: number, k: number): number => {
    const { panels: present } = weight.buffer;
    if (present) return present.address;
    const panels = Math.ceil(n / panelColumns);
    const at = heap.allocate(4 * panels * panelColumns * k);
    pool.run('packB', [values.address(weight), 1, k, n, k, at], panels, packedAtOnce);
    values.setPanels(weight, { address: at, n, k });
    return at;
  };

  return (x: Value, weight: Value, bias?: Value): Value => {
    const [n, k] = weight.shape;
    if (x.shape.at(-1) !== k)
      throw new ShapeError(`linear: input [${x.shape}] does not fit the weight [${weight.shape}] ([out, in])`);
    const m = x.count / k;
    const out = values.make([...x.shape.slice(0, -1), n]);
    const row = bias ? values.address(bias) : 0;
    const { packed } = weight.buffer;
    if (packed) {
      packed.product(values.address(x), m, values.address(out), row);
      return out;
    }
    const packedB = panelsOf(weight, n, k);
    const panels = Math.ceil(m / panelRows);
    const packedA = heap.allocate(4 * panels * panelRows * k);
    const grain = tileSize(panels, pool.threads);
    pool.run('packA', [values.address(x), k, 1, m, k, packedA], panels, grain);
    pool.run('matmulTile', [packedA, packedB, values.address(out), m, n, k, row, 0], panels, grain);
    heap.free(packedA);
    return out;
  };
}
