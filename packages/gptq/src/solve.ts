import { type Kernels, permuteColumns, restoreColumns, type ScaleFit, type Scheme } from '@q/core';
import { roundingGrid } from './rounding-grid.js';

/** One linear to solve. Columns are in the order of rounding. */
export interface GptqProblem {
  readonly rows: number;
  readonly columns: number;
  /** W `[rows, columns]`; only this array may have another order, see `order`. */
  readonly weight: Float32Array;
  /** R of `H = R R^T`, upper triangular `[columns, columns]`. */
  readonly factor: Float32Array;
  readonly scheme: Scheme;
  /** Fixed grids `[rows, groups]`; when absent, each group is fitted at its first column on the updated weights. */
  readonly grids?: { readonly scales: Float32Array; readonly zeros: Float32Array };
  /** Group of each column. With refitted grids groups are consecutive runs. */
  readonly group: Int32Array;
  readonly groups: number;
  readonly fit: ScaleFit;
  /** Weights of the columns `[columns]` for the fit. */
  readonly importance?: Float32Array;
  /**
   * Columns between two products with all earlier columns; 128 in the paper. Not used by kernels with `splitsColumns`.
   */
  readonly blockSize: number;
  /** For a weight and codes with another order of columns: the j-th column to be rounded is `order[j]`. */
  readonly order?: Int32Array;
}

export interface GptqSolution {
  /** Codes `[rows, columns]`, in the order of the weight. */
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  /** `||(W - Q) R||^2` of each row. */
  readonly loss: Float64Array;
}

/**
 * GPTQ without an inverse (docs/reference/papers.md#gptq). With `H = R R^T`, R upper triangular, and `D = W - Q`
 * against the original weights, the error is `||D R||^2` and column j rounds
 *
 *     w'_j = w_j + D[:, <j] R[<j, j] / R_jj
 *
 * This equals the original formulation, which computes Cholesky, inverse, Cholesky. Columns are split into blocks: one
 * product gives the contribution of all earlier blocks, and `kernels.gptqBlock` does the rest. Kernels that split
 * columns themselves get all columns with known grids in one call.
 */
export async function gptqSolve(problem: GptqProblem, kernels: Kernels): Promise<GptqSolution> {
  const { rows, columns, factor, scheme, group, groups, importance, blockSize, order } = problem;
  if (kernels.splitsColumns && problem.grids) return sweepOnce(problem, problem.grids, kernels);
  if (order) {
    const weight = permuteColumns(problem.weight, rows, order);
    const solution = await gptqSolve({ ...problem, weight, order: undefined }, kernels);
    return { ...solution, codes: restoreColumns(solution.codes, rows, order) };
  }
  const { weight } = problem;
  const grid = roundingGrid(scheme.format);
  const codes = new Uint8Array(rows * columns);
  const difference = new Float32Array(columns * rows);
  const loss = new Float64Array(rows);
  const scales = problem.grids?.scales ?? new Float32Array(rows * groups);
  const zeros = problem.grids?.zeros ?? new Float32Array(rows * groups);

  let start = 0;
  while (start < columns) {
    const groupEnd = problem.grids ? columns : endOfGroup(group, start);
    const firstOfGroup = start === 0 || group[start] !== group[start - 1];
    const end = kernels.splitsColumns ? groupEnd : Math.min(start + blockSize, groupEnd);

    if (!problem.grids && firstOfGroup) {
      const updated = await updatedWeights(problem, difference, start, groupEnd, kernels);
      const weights = importance?.subarray(start, groupEnd);
      fitGroup(
        problem,
        { values: updated, width: groupEnd - start, importance: weights, index: group[start] },
        { scales, zeros },
      );
    }
    const width = end - start;
    const whole = width === columns;
    const blockCodes = whole ? codes : new Uint8Array(rows * width);
    await kernels.gptqBlock({
      weight: whole ? weight : columnsOf(weight, rows, columns, start, end),
      feedback: start === 0 ? undefined : await feedbackOf(problem, difference, start, end, kernels),
      factor: whole ? factor : squareOf(factor, columns, start, end),
      codes: blockCodes,
      difference: difference.subarray(start * rows, end * rows),
      rows,
      columns: width,
      scales,
      zeros,
      groups,
      group: group.subarray(start, end),
      grid,
      loss,
    });
    if (!whole)
      for (let row = 0; row < rows; row++)
        codes.set(blockCodes.subarray(row * width, (row + 1) * width), row * columns + start);
    start = end;
  }
  return { codes, scales, zeros, loss };
}

/**
 * All columns in one call. Differences that only the sweep needs stay in the kernels: they are as large as the weight.
 */
async function sweepOnce(
  { rows, columns, weight, factor, scheme, group, groups, order }: GptqProblem,
  grids: NonNullable<GptqProblem['grids']>,
  kernels: Kernels,
): Promise<GptqSolution> {
  const solution = {
    ...grids,
    codes: new Uint8Array(rows * columns),
    loss: new Float64Array(rows),
  };
  const grid = roundingGrid(scheme.format);
  await kernels.gptqBlock({ ...solution, rows, columns, weight, factor, groups, group, grid, order });
  return solution;
}

function endOfGroup(group: Int32Array, start: number): number {
  let end = start + 1;
  while (end < group.length && group[end] === group[start]) end++;
  return end;
}

function columnsOf(x: Float32Array, rows: number, columns: number, start: number, end: number): Float32Array {
  const out = new Float32Array(rows * (end - start));
  for (let row = 0; row < rows; row++)
    out.set(x.subarray(row * columns + start, row * columns + end), row * (end - start));
  return out;
}

function squareOf(factor: Float32Array, columns: number, start: number, end: number): Float32Array {
  return columnsOf(factor.subarray(start * columns, end * columns), end - start, columns, start, end);
}

/** `D[:, <start] R[<start, start:end]`, `[rows, end - start]`. */
async function feedbackOf(
  { rows, columns, factor }: GptqProblem,
  difference: Float32Array,
  start: number,
  end: number,
  kernels: Kernels,
): Promise<Float32Array> {
  const above = columnsOf(factor, start, columns, start, end);
  return kernels.matmul({
    a: difference.subarray(0, start * rows),
    b: above,
    m: rows,
    n: end - start,
    k: start,
    transposeA: true,
  });
}

/**
 * The weights of a group as GPTQ has updated them when it reaches the group's first column: W minus the D for which the
 * error of these columns would be zero, `D R_gg = -feedback`.
 */
async function updatedWeights(
  problem: GptqProblem,
  difference: Float32Array,
  start: number,
  end: number,
  kernels: Kernels,
): Promise<Float32Array> {
  const { rows, columns, weight, factor } = problem;
  const updated = columnsOf(weight, rows, columns, start, end);
  if (start === 0) return updated;
  const b = await feedbackOf(problem, difference, start, end, kernels);
  await kernels.triangularSolve({
    t: squareOf(factor, columns, start, end),
    n: end - start,
    triangle: 'upper',
    b,
    rows,
  });
  for (let i = 0; i < updated.length; i++) updated[i] += b[i];
  return updated;
}

/** The weights of a group when the sweep reaches it. */
interface GroupValues {
  readonly values: Float32Array;
  readonly width: number;
  readonly importance: Float32Array | undefined;
  /** Index of the group. */
  readonly index: number;
}

/** Fits the grids of one group, `values` `[rows, width]`, into its column of `scales` and `zeros` `[rows, groups]`. */
function fitGroup(
  { rows, groups, scheme, fit }: GptqProblem,
  { values, width, importance, index }: GroupValues,
  { scales, zeros }: { readonly scales: Float32Array; readonly zeros: Float32Array },
): void {
  const scale = new Float32Array(rows);
  const zero = new Float32Array(rows);
  fit.fit({ values, rows, columns: width, scheme, importance, scale, zero });
  const stored = scheme.scaleStorage.store(scale).effective;
  for (let row = 0; row < rows; row++) {
    scales[row * groups + index] = stored[row];
    zeros[row * groups + index] = zero[row];
  }
}
