import type { Kernels } from '@q/core';
import { type GptqProblem, type GptqSolution, gptqSolve } from './solve.js';

/**
 * Solves a linear once for each multiple of its fixed scales, and keeps, row by row, the solution with the least loss. A
 * fit measures only the error of rounding to nearest. Later columns compensate for a part of the error, so a wider or
 * narrower grid may be better; only the loss of the sweep shows it. Rows are independent, so the best rows make the
 * best linear.
 *
 * @param ranges multiples of `problem.grids.scales`; without fixed grids there is nothing to multiply, and one sweep is
 *   done
 */
export async function solveRanges(
  problem: GptqProblem,
  ranges: readonly number[],
  kernels: Kernels,
): Promise<GptqSolution> {
  const { grids, scheme } = problem;
  if (!grids) return gptqSolve(problem, kernels);
  let best: GptqSolution | undefined;
  for (const range of ranges) {
    const scaled = scheme.scaleStorage.store(grids.scales.map((scale) => scale * range)).effective;
    const found = await gptqSolve(
      { ...problem, grids: { scales: range === 1 ? grids.scales.slice() : scaled, zeros: grids.zeros } },
      kernels,
    );
    if (best) keepBetterRows(best, found, problem);
    else best = found;
  }
  return best as GptqSolution;
}

/** Replaces the rows of `best` whose loss is higher than in `found`. */
function keepBetterRows(best: GptqSolution, found: GptqSolution, { rows, columns, groups }: GptqProblem): void {
  for (let row = 0; row < rows; row++) {
    if (!(found.loss[row] < best.loss[row])) continue;
    best.loss[row] = found.loss[row];
    best.codes.set(found.codes.subarray(row * columns, (row + 1) * columns), row * columns);
    best.scales.set(found.scales.subarray(row * groups, (row + 1) * groups), row * groups);
    best.zeros.set(found.zeros.subarray(row * groups, (row + 1) * groups), row * groups);
  }
}
