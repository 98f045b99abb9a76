import { SchemeError, ShapeError } from '../contracts/errors.js';
import type { NumberFormat } from '../contracts/number-format.js';
import { tableFormat } from './table.js';

/**
 * A table of `2^bits` levels fitted to values by k-means in one dimension (Lloyd). It starts at weighted quantiles, and
 * moves each level to the weighted mean of the values nearest to it, until nothing changes. Deterministic. A level
 * without any nearest value keeps its position.
 * @param importance weight of each value; equal weights when absent
 */
export function fitCodebook(
  values: Float32Array,
  bits: number,
  importance?: Float32Array,
  maxIterations = 100,
): NumberFormat {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) throw new SchemeError(`a codebook has 1 to 8 bits, not ${bits}`);
  if (importance && importance.length !== values.length)
    throw new ShapeError(`${values.length} values need as many weights, got ${importance.length}`);
  const order = Float64Array.from(values).sort();
  const count = 2 ** bits;
  const weights = importance && sortedWeights(values, importance);
  // With prefix sums a step costs O(levels log values).
  const mass = new Float64Array(order.length + 1);
  const moment = new Float64Array(order.length + 1);
  for (let i = 0; i < order.length; i++) {
    const weight = weights ? weights[i] : 1;
    mass[i + 1] = mass[i] + weight;
    moment[i + 1] = moment[i] + weight * order[i];
  }
  const total = mass[order.length];
  const levels = Float64Array.from({ length: count }, (_, k) => {
    if (order.length === 0) return 0;
    const target = ((k + 0.5) / count) * total;
    return order[Math.min(order.length - 1, firstAbove(mass, target) - 1)];
  });
  for (let iteration = 0; iteration < maxIterations; iteration++) {
    let moved = false;
    let start = 0;
    for (let k = 0; k < count; k++) {
      const end = k + 1 < count ? firstAbove(order, (levels[k] + levels[k + 1]) / 2) : order.length;
      const inside = mass[end] - mass[start];
      if (end > start && inside > 0) {
        const mean = (moment[end] - moment[start]) / inside;
        if (mean !== levels[k]) moved = true;
        levels[k] = mean;
      }
      start = Math.max(start, end);
    }
    levels.sort();
    if (!moved) break;
  }
  return tableFormat(`codebook-${bits}`, [...levels]);
}

function sortedWeights(values: Float32Array, importance: Float32Array): Float64Array {
  const indices = [...values.keys()].sort((a, b) => values[a] - values[b]);
  return Float64Array.from(indices, (i) => importance[i]);
}

/** Index of the first entry of a sorted array that is above x. */
function firstAbove(sorted: Float64Array, x: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > x) high = middle;
    else low = middle + 1;
  }
  return low;
}
