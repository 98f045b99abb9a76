import type { Descent, Kernels, RoundingGrid, ScaleStorage } from '@q/core';
import { blocksOf } from './refine-blocks.js';

/** A rounded linear. `codes` and `scales` are improved in place. */
export interface RefineProblem {
  readonly rows: number;
  readonly columns: number;
  /** The target of the values, T `[rows, columns]`. */
  readonly target: Float32Array;
  /** Damped H `[columns, columns]`, f32, symmetric. */
  readonly hessian: Float32Array;
  readonly grid: RoundingGrid;
  readonly storage: ScaleStorage;
  /** Group of each column; the columns of a group are consecutive. */
  readonly group: Int32Array;
  readonly groups: number;
  /** Columns of a block when scales stay as they are; otherwise a block is a group. */
  readonly blockSize: number;
  /** `[rows, columns]` */
  readonly codes: Uint8Array;
  /** `[rows, groups]`, as stored. */
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  /**
   * False for grids that rows share, or whose storage makes scales depend on each other: these scales stay as they are.
   */
  readonly refitScales: boolean;
  /** The stored scale nearest to a requested one, for a row and a group. Default: rounded by `storage`. */
  store?(wanted: number, row: number, group: number): number;
}

/**
 * Number of weight values whose rows are refined together: the kernels' memory holds them with their target and
 * differences.
 */
const valuesAtOnce = 4 << 20;

/**
 * Refines the result of GPTQ in rounds. Each step can only lower `tr(D H D^T)`, `D = T - Q` (up to the rounding of
 * stored scales). A round goes group by group. First it fits the scale to the codes while all other groups stay,
 * `s += (u . D H) / (u H u^T)` with u the integers (or levels) of the group. Then it optimises every code of the group
 * against all others (cyclic coordinate descent). One product of D with the group's columns of H serves both.
 */
export function refine(problem: RefineProblem, rounds: number, kernels: Kernels): void {
  const { rows, columns, groups, store } = problem;
  const atOnce = Math.max(8, Math.floor(valuesAtOnce / columns / 8) * 8);
  for (let start = 0; start < rows; start += atOnce) {
    const end = Math.min(start + atOnce, rows);
    const own = <A extends Float32Array | Uint8Array>(of: A, width: number) =>
      of.subarray(start * width, end * width) as A;
    const part = {
      ...{ ...problem, rows: end - start, target: own(problem.target, columns), codes: own(problem.codes, columns) },
      ...{ scales: own(problem.scales, groups), zeros: own(problem.zeros, groups) },
      store: store && ((wanted: number, row: number, group: number) => store(wanted, start + row, group)),
    };
    refineRows(part, rounds, kernels);
  }
}

function refineRows(problem: RefineProblem, rounds: number, kernels: Kernels): void {
  const blocks = blocksOf(problem);
  const descent = kernels.openDescent(problem);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [start, end] of blocks) {
        descent.gradient(start, end);
        const steps = problem.refitScales ? refitScale(problem, descent, start, end) : undefined;
        descent.descend(start, end, steps);
      }
    }
  } finally {
    descent.close();
  }
}

/** Computes and stores the new scale of a group; returns its growth. */
function refitScale(
  { group, groups, scales, storage, store }: RefineProblem,
  descent: Descent,
  start: number,
  end: number,
): Float32Array {
  const { numerators, curvatures } = descent.scaleGains(start, end);
  const index = group[start];
  const fitted = numerators.map((numerator, row) => {
    const old = scales[row * groups + index];
    const wanted = old + (curvatures[row] > 0 ? numerator / curvatures[row] : 0);
    // A scale that would become 0 or change its sign stays: its codes do not determine a scale.
    return store ? store(wanted, row, index) : wanted * old > 0 ? wanted : old;
  });
  return (store ? fitted : storage.store(fitted).effective).map((scale, row) => {
    const at = row * groups + index;
    const step = scale - scales[at];
    scales[at] = scale;
    return step;
  });
}
