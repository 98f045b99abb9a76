import type { FitOutputScales, Kernels } from '@q/core';
import type { RefineProblem } from './refine.js';
import { blocksOf } from './refine-blocks.js';

/** A rounded linear, and the curvature of the end loss in its outputs. */
export interface RefineOutputsProblem extends RefineProblem {
  /**
   * Damped second moments of the end loss's derivatives with respect to the outputs, G `[rows, rows]`, f32, symmetric,
   * positive diagonal.
   */
  readonly outputs: Float32Array;
}

/**
 * Rounds of coordinate descent on `tr(G D H D^T)`, the estimate of the end loss with one factor for the outputs and one
 * for the inputs (YAQA, arXiv 2505.22988): other outputs that affect the loss together with one output compensate for
 * its error. A round goes block by block as that of {@link refine}, and within a block a few rows at a time: first
 * their scales by least squares, then their codes. Each step can only lower the estimate, up to the rounding of stored
 * scales. With a diagonal G it equals `refine`.
 */
export function refineOutputs(problem: RefineOutputsProblem, rounds: number, kernels: Kernels): void {
  const blocks = blocksOf(problem);
  const descent = kernels.openOutputDescent(problem);
  try {
    for (let round = 0; round < rounds; round++)
      for (const [start, end] of blocks)
        descent.descend(start, end, problem.refitScales ? scaleFit(problem, problem.group[start]) : undefined);
  } finally {
    descent.close();
  }
}

/** Fits the scales of a group row after row, each to the stored ones before it. */
function scaleFit({ groups, scales, storage }: RefineOutputsProblem, group: number): FitOutputScales {
  return ({ first, numerators, curvatures }) => {
    const count = numerators.length;
    const steps = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      let slope = numerators[i];
      for (let k = 0; k < i; k++) slope -= curvatures[i * count + k] * steps[k];
      const at = (first + i) * groups + group;
      const curvature = curvatures[i * (count + 1)];
      const wanted = scales[at] + (curvature > 0 ? slope / curvature : 0);
      // A scale that would become 0 or change its sign stays: its codes do not determine a scale.
      if (!(wanted * scales[at] > 0)) continue;
      const [stored] = storage.store(Float32Array.of(wanted)).effective;
      steps[i] = stored - scales[at];
      scales[at] = stored;
    }
    return steps;
  };
}
