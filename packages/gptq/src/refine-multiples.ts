import type { BlockMultiples, Kernels, RoundingGrid } from '@q/core';
import { type BlockMatrix, type Candidate, eachBlock } from './block-matrix.js';
import { type RefineProblem, refine } from './refine.js';

/** The single level 1, which a minimum multiplies. */
const one: RoundingGrid = { kind: 'levels', levels: Float32Array.of(1), codes: Uint8Array.of(0) };

/**
 * Refines codes, scales and minima of blocks whose scales and minima are integer multiples of steps; the steps do not
 * change. The value `s level - m` is linear in each of the three. With the target `T + m` the scales are those of
 * levels without a zero point; with the target `s level - T` the minima are scales of a level of 1. Every step can only
 * lower `tr(D H D^T)`.
 * @param found codes and bytes, replaced in place; its scales and zeros are undefined afterwards
 */
export function refineMultiples(
  matrix: BlockMatrix,
  found: Candidate,
  problem: RefineProblem,
  rounds: number,
  kernels: Kernels,
): void {
  const { grid, rows, columns, groups } = matrix;
  const multiples = grid.multiples as BlockMultiples;
  const { levels, group } = grid;
  const { target, codes } = problem;
  const steps = stepsOf(matrix, found.bytes, multiples);
  const [scales, minima] = [found.scales.slice(), new Float32Array(rows * groups)];
  if (grid.affine) for (let at = 0; at < minima.length; at++) minima[at] = found.zeros[at] * scales[at];
  const zeros = new Float32Array(rows * groups);
  const shifted = new Float32Array(rows * columns);
  /** The multiple nearest to a requested value. A scale of 0 stays, since its codes do not determine a scale. */
  const storeScale = (wanted: number, row: number, index: number): number => {
    const at = row * groups + index;
    const whole = nearest(wanted, steps.scales[at], multiples.scale);
    return whole === 0 || Math.abs(scales[at]) < 1e-15 ? scales[at] : whole * steps.scales[at];
  };
  const storeMinimum = (wanted: number, row: number, index: number): number => {
    const step = steps.minima[row * groups + index];
    return step === 0
      ? minima[row * groups + index]
      : nearest(wanted, step, multiples.minimum as [number, number]) * step;
  };
  const units = grid.affine ? new Uint8Array(rows * columns) : undefined;
  for (let round = 0; round < rounds; round++) {
    for (let at = 0; at < shifted.length; at++) shifted[at] = target[at] + minima[Math.floor(at / group)];
    refine({ ...problem, target: shifted, scales, zeros, refitScales: true, store: storeScale }, 1, kernels);
    if (!units) continue;
    for (let at = 0; at < shifted.length; at++)
      shifted[at] = scales[Math.floor(at / group)] * levels[codes[at]] - target[at];
    units.fill(0);
    const minimumProblem = { ...problem, target: shifted, codes: units, grid: one, scales: minima, zeros };
    refine({ ...minimumProblem, refitScales: true, store: storeMinimum }, 1, kernels);
  }
  const each = matrix.format.values / group;
  eachBlock(matrix, found.bytes, (to, block) => {
    const whole = (values: Float32Array, of: Float32Array) =>
      Int32Array.from({ length: each }, (_, j) => {
        const step = of[block * each + j];
        return step === 0 ? 0 : Math.round(values[block * each + j] / step);
      });
    multiples.put(whole(scales, steps.scales), whole(minima, steps.minima), to);
  });
}

function nearest(wanted: number, step: number, [least, most]: readonly [number, number]): number {
  return step === 0 ? 0 : Math.min(most, Math.max(least, Math.round(wanted / step)));
}

/** The step of each group's scale and minimum, `[rows, groups]`. */
function stepsOf(matrix: BlockMatrix, bytes: Uint8Array, multiples: BlockMultiples) {
  const each = matrix.format.values / matrix.grid.group;
  const [scales, minima] = [1, 1].map(() => new Float32Array(matrix.rows * matrix.groups));
  eachBlock(matrix, bytes, (from, block) => {
    const own = multiples.steps(from);
    scales.fill(own.scale, block * each, (block + 1) * each);
    minima.fill(own.minimum, block * each, (block + 1) * each);
  });
  return { scales, minima };
}
