import type { NumberFormat } from '../contracts/number-format.js';
import { levelTable } from '../formats/level-table.js';
import { exponentOf } from '../formats/minifloat.js';

/**
 * The power of two of least weighted squared error near the one of the specification
 * (docs/reference/file-formats.md#mx-blocks): a smaller one saturates more values, a larger one wastes a bit. 0 for
 * values that are all zero.
 */
export function searchExponent(x: Float32Array, format: NumberFormat, importance?: Float32Array): number {
  let largest = 0;
  for (let j = 0; j < x.length; j++) largest = Math.max(largest, Math.abs(x[j]));
  if (largest === 0) return 0;
  const { levels, thresholds } = levelTable(format);
  const own = exponentOf(largest) - exponentOf(format.max);
  let best = Number.POSITIVE_INFINITY;
  let chosen = 0;
  for (const exponent of [own, own + 1, own - 1]) {
    const scale = 2 ** Math.max(-127, Math.min(127, exponent));
    let error = 0;
    for (let j = 0; j < x.length && error < best; j++) {
      const v = x[j] / scale;
      let low = 0;
      let high = thresholds.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (v > thresholds[middle]) low = middle + 1;
        else high = middle;
      }
      // A value that overflows f32 has an infinite error.
      const difference = x[j] - Math.fround(levels[low] * scale);
      error += (importance ? importance[j] : 1) * difference * difference;
    }
    if (error < best) {
      best = error;
      chosen = scale;
    }
  }
  return chosen;
}
