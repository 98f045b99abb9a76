import type { GptqBlockArgs } from '../contracts/kernels.js';
import { roundHalfEven } from '../dtypes/round.js';

/**
 * Reference column sweep (docs/reference/papers.md#gptq, inverse-free form). Sums over the block's earlier columns run
 * in order in f64. The difference is rounded to f32, because the next product reads it as f32.
 */
export function gptqBlock(args: GptqBlockArgs): void {
  const { rows, columns, weight, feedback, factor, scales, zeros, groups, group, grid } = args;
  const { order, codes, difference = new Float32Array(columns * rows), loss } = args;
  for (let row = 0; row < rows; row++) {
    const base = row * columns;
    for (let j = 0; j < columns; j++) {
      const at = base + (order ? order[j] : j);
      let sum = feedback ? feedback[base + j] : 0;
      for (let i = 0; i < j; i++) sum += difference[i * rows + row] * factor[i * columns + j];
      const pivot = factor[j * columns + j];
      const target = weight[at] + sum / pivot;
      const index = row * groups + group[j];
      const scale = scales[index];
      const zero = zeros[index];
      let value: number;
      if (grid.kind === 'linear') {
        const q = Math.min(grid.max, Math.max(grid.min, roundHalfEven(target / scale + zero)));
        codes[at] = q - grid.min;
        value = Math.fround((q - zero) * scale);
      } else {
        const level = nearestLevel(grid.levels, target / scale);
        codes[at] = grid.codes[level];
        value = Math.fround(grid.levels[level] * scale);
      }
      difference[j * rows + row] = weight[at] - value;
      const error = (target - value) * pivot;
      loss[row] += error * error;
    }
  }
}

/** Index of the level nearest to x; the lower one on a tie. */
function nearestLevel(levels: Float32Array, x: number): number {
  let low = 0;
  let high = levels.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x > (levels[middle] + levels[middle + 1]) / 2) low = middle + 1;
    else high = middle;
  }
  return low;
}
