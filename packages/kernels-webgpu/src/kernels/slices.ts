/** Parts of host matrices, for products that do not fit into one binding. */

export interface Range {
  readonly start: number;
  readonly size: number;
}

/** Splits `count` rows into parts of at most `most` rows; each part has at least one row. */
export function ranges(count: number, most: number): Range[] {
  const size = Math.max(1, Math.floor(most));
  const parts: Range[] = [];
  for (let start = 0; start < count; start += size) parts.push({ start, size: Math.min(size, count - start) });
  return parts;
}

/** Columns `[start, start+size)` of `x` `[rows, columns]`: a view if these are all columns, else a copy. */
export function sliceColumns(x: Float32Array, rows: number, columns: number, { start, size }: Range): Float32Array {
  if (size === columns) return x.subarray(0, rows * columns);
  const out = new Float32Array(rows * size);
  for (let row = 0; row < rows; row++) {
    out.set(x.subarray(row * columns + start, row * columns + start + size), row * size);
  }
  return out;
}

/** Rows `[start, start+size)` of `x` with `columns` a row. */
export function sliceRows(x: Float32Array, columns: number, { start, size }: Range): Float32Array {
  return x.subarray(start * columns, (start + size) * columns);
}
