import type { Kernels, RoundingGrid } from '@q/core';
import type { RefineProblem } from './refine.js';
import { codeLevels } from './rounding-grid.js';

/** A rounded linear, and the curvature of the end loss in its outputs. */
export interface RefineOutputsProblem extends RefineProblem {
  /**
   * Damped second moments of the end loss's derivatives with respect to the outputs, G `[rows, rows]`, f32, symmetric,
   * positive diagonal.
   */
  readonly outputs: Float32Array;
}

/** Number of rows whose products with all others are computed together. */
const rowsAtOnce = 64;

/**
 * Rounds of coordinate descent on `tr(G D H D^T)`, the estimate of the end loss with one factor for the outputs and one
 * for the inputs (YAQA, arXiv 2505.22988): other outputs that affect the loss together with one output compensate for
 * its error. Row after row: first its scales by least squares, then its codes. Each step can only lower the estimate,
 * up to the rounding of stored scales. With a diagonal G it equals `refine`.
 */
export async function refineOutputs(problem: RefineOutputsProblem, rounds: number, kernels: Kernels): Promise<void> {
  const { rows, columns, hessian, outputs } = problem;
  const levels = codeLevels(problem.grid);
  const difference = differenceOf(problem, levels);
  const state: RowState = {
    ...problem,
    difference,
    round: nearestCode(problem.grid),
    levels,
    panels: groupPanels(problem),
  };
  for (let round = 0; round < rounds; round++) {
    for (let first = 0; first < rows; first += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, rows - first);
      const part = outputs.subarray(first * rows, (first + count) * rows);
      const mixed = await kernels.matmul({ a: part, b: difference, m: count, n: columns, k: rows });
      const slopes = await kernels.matmul({ a: mixed, b: hessian, m: count, n: columns, k: columns });
      const units = problem.refitScales ? await unitsOf(state, first, count, kernels) : [];
      for (let i = 0; i < count; i++) {
        const slope = slopes.subarray(i * columns, (i + 1) * columns);
        const before = slope.slice();
        const row = first + i;
        const weight = outputs[row * rows + row];
        if (problem.refitScales) refitRow(state, { row, at: i, units }, slope, weight);
        descendRow(state, row, slope, weight);
        for (let j = 0; j < columns; j++) before[j] = slope[j] - before[j];
        for (let other = i + 1; other < count; other++) {
          const share = outputs[row * rows + first + other] / weight;
          const start = other * columns;
          for (let j = 0; j < columns; j++) slopes[start + j] += share * before[j];
        }
      }
    }
  }
}

interface RowState extends RefineOutputsProblem {
  /** `D = T - Q` `[rows, columns]`. */
  readonly difference: Float32Array;
  readonly round: (value: number) => number;
  readonly levels: Float32Array;
  readonly panels: readonly GroupPanel[];
}

/** The columns of a group, and their rows of H `[members, columns]`. */
interface GroupPanel {
  readonly members: Int32Array;
  readonly hessian: Float32Array;
}

function groupPanels({ columns, groups, group, hessian }: RefineProblem): GroupPanel[] {
  return Array.from({ length: groups }, (_, index) => {
    const members = Int32Array.from({ length: columns }, (_, j) => j).filter((j) => group[j] === index);
    const panel = new Float32Array(members.length * columns);
    for (const [i, j] of members.entries()) panel.set(hessian.subarray(j * columns, (j + 1) * columns), i * columns);
    return { members, hessian: panel };
  });
}

/**
 * The vectors that a scale multiplies, for rows that are refitted one after the other: by group, u `[rows, members]`
 * and `u H` `[rows, columns]`.
 */
interface GroupUnits {
  readonly units: Float32Array;
  readonly slopes: Float32Array;
}

async function unitsOf(state: RowState, first: number, count: number, kernels: Kernels): Promise<GroupUnits[]> {
  const { columns, groups, codes, zeros, levels, panels } = state;
  const all: GroupUnits[] = [];
  for (const [index, { members, hessian }] of panels.entries()) {
    const width = members.length;
    const units = new Float32Array(count * width);
    for (let i = 0; i < count; i++) {
      const row = first + i;
      const zero = zeros[row * groups + index];
      for (let j = 0; j < width; j++) units[i * width + j] = levels[codes[row * columns + members[j]]] - zero;
    }
    all.push({ units, slopes: await kernels.matmul({ a: units, b: hessian, m: count, n: columns, k: width }) });
  }
  return all;
}

/** Group by group, the least-squares scale of fixed codes. `slope` is `(G D H)` of the row. */
function refitRow(
  state: RowState,
  { row, at, units: all }: { readonly row: number; readonly at: number; readonly units: readonly GroupUnits[] },
  slope: Float32Array,
  weight: number,
): void {
  const { columns, groups, scales, difference, storage, panels } = state;
  for (const [index, { members }] of panels.entries()) {
    const width = members.length;
    const units = all[index].units.subarray(at * width, (at + 1) * width);
    const own = all[index].slopes.subarray(at * columns, (at + 1) * columns);
    let [numerator, denominator] = [0, 0];
    for (let j = 0; j < width; j++) {
      numerator += units[j] * slope[members[j]];
      denominator += units[j] * own[members[j]];
    }
    const old = scales[row * groups + index];
    const wanted = denominator > 0 ? old + numerator / (weight * denominator) : old;
    // A scale that would become 0 or change its sign stays: its codes do not determine a scale.
    if (!(wanted * old > 0)) continue;
    const [stored] = storage.store(Float32Array.of(wanted)).effective;
    const step = stored - old;
    if (step === 0) continue;
    scales[row * groups + index] = stored;
    for (let j = 0; j < width; j++) difference[row * columns + members[j]] -= step * units[j];
    for (let k = 0; k < columns; k++) slope[k] -= weight * step * own[k];
  }
}

/** Moves each code to the grid point that minimises the estimate while all others stay. */
function descendRow(state: RowState, row: number, slope: Float32Array, weight: number): void {
  const { columns, target, hessian, group, groups, scales, zeros, codes, difference, round, levels } = state;
  for (let j = 0; j < columns; j++) {
    const at = row * columns + j;
    const [scale, zero] = [scales[row * groups + group[j]], zeros[row * groups + group[j]]];
    if (scale === 0) continue;
    const value = target[at] - difference[at] + slope[j] / (weight * hessian[j * columns + j]);
    const code = round(value / scale + zero);
    if (code === codes[at]) continue;
    const change = (levels[codes[at]] - levels[code]) * scale;
    codes[at] = code;
    difference[at] += change;
    addLine(slope, hessian, j * columns, weight * change);
  }
}

function addLine(slope: Float32Array, hessian: Float32Array, line: number, factor: number): void {
  for (let k = 0; k < slope.length; k++) slope[k] += factor * hessian[line + k];
}

/** The code whose level is nearest. */
function nearestCode(grid: RoundingGrid): (value: number) => number {
  if (grid.kind === 'linear') {
    const { min, max } = grid;
    return (value) => Math.min(max, Math.max(min, Math.round(value))) - min;
  }
  const { levels, codes } = grid;
  return (value) => {
    let [low, high] = [0, levels.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (levels[middle] <= value) low = middle;
      else high = middle;
    }
    return codes[value - levels[low] <= levels[high] - value ? low : high];
  };
}

/** `D = T - Q` `[rows, columns]`. */
function differenceOf(problem: RefineProblem, levels: Float32Array): Float32Array {
  const { rows, columns, target, codes, scales, zeros, group, groups } = problem;
  const out = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < columns; j++) {
      const [at, of] = [row * columns + j, row * groups + group[j]];
      out[at] = target[at] - (levels[codes[at]] - zeros[of]) * scales[of];
    }
  return out;
}
