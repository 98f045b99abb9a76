/**
 * Columns with a magnitude of at least `threshold` in any row, ascending (LLM.int8(), section 3.2; the paper's
 * threshold is 6). None for a threshold of 0 or less.
 * @param x `[tokens, width]`
 */
export function outlierColumns(x: Float32Array, width: number, threshold: number): Int32Array {
  if (!(threshold > 0)) return new Int32Array(0);
  const isOutlier = new Uint8Array(width);
  for (let i = 0, j = 0; i < x.length; i++, j = j + 1 === width ? 0 : j + 1)
    if (x[i] >= threshold || x[i] <= -threshold) isOutlier[j] = 1;
  const columns: number[] = [];
  for (let j = 0; j < width; j++) if (isOutlier[j]) columns.push(j);
  return Int32Array.from(columns);
}
