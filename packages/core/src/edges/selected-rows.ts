import { ShapeError } from '../contracts/errors.js';
import type { RowSelection } from '../contracts/transform.js';

/**
 * Indices of the `count` selected rows, in order.
 * @throws ShapeError when the selection has another number of rows
 */
export function selectedRows({ rows, period }: RowSelection, count: number, what = 'rows'): Int32Array {
  const [start, end] = rows ?? [0, count];
  const size = end - start;
  if (period === undefined ? size !== count : count % size !== 0)
    throw new ShapeError(`${what}: ${size} producer rows feed ${count} channels`);
  return Int32Array.from({ length: count }, (_, i) => start + Math.floor(i / size) * (period ?? 0) + (i % size));
}
