import {
  type BlockFormat,
  type BlockGrid,
  CalibrationError,
  f16Scale,
  f32Scale,
  hessian,
  inputShift,
  type Kernels,
  minMax,
  perGroup,
  permuteColumns,
  residualCross,
  type Scheme,
  SchemeError,
  type Statistic,
  type Statistics,
  scheme,
  type Tensor,
  tableFormat,
  tensor,
  uint2,
  uint4,
  uint5,
} from '@q/core';
import { type BlockMatrix, type Candidate, eachBlock, type Grids } from './block-matrix.js';
import { activationOrder } from './column-order.js';
import { correctedTarget } from './corrected-target.js';
import { factorize } from './factorize.js';
import { openCorrection } from './linear-inputs.js';
import { refine } from './refine.js';
import { refineMultiples } from './refine-multiples.js';
import { roundingGrid } from './rounding-grid.js';
import { gptqSolve } from './solve.js';

export interface SolveBlocksOptions {
  /** Added to the diagonal of the Hessian, as a share of its mean. Default 0.01. */
  readonly damping?: number;
  /** Share of the errors of earlier linears that is corrected. Default 1. */
  readonly retarget?: number;
  /** Multiples of the fitted scales, each tried with a whole sweep. Default 0.8, 0.9, 1, 1.1. */
  readonly ranges?: readonly number[];
  /** Rounds of refinement after the sweep. Default 3. */
  readonly refineRounds?: number;
}

/** A weight in blocks. */
export interface SolvedBlocks {
  /** Row after row. */
  readonly bytes: Uint8Array;
  /** The values that a reader decodes. */
  readonly values: Tensor<'f32'>;
  /** Weighted squared error of all rows, and of the format's own encoder with importance. */
  readonly loss: number;
  readonly encoderLoss: number;
}

/** The statistics that {@link solveBlocks} needs. */
export const blockStatistics: readonly Statistic<any>[] = [hessian, inputShift, residualCross];

/** Replaces a scale that is stored as zero: its codes have no effect, and quotients stay finite. */
const vanishing = 1e-20;

/**
 * GPTQ (arXiv 2210.17323) for formats whose blocks hold their own scales, such as those of GGUF. It fits scales and
 * minima with weights from the inputs' squares, and rounds them to the precision of the blocks. Then it sweeps codes
 * with error feedback, and refines them against the whole Hessian. Each row keeps the best of several ranges, or the
 * encoder's own bytes if these are better.
 */
export async function solveBlocks(
  weight: Tensor<'f32'>,
  statistics: Statistics,
  format: BlockFormat,
  kernels: Kernels,
  options: SolveBlocksOptions = {},
): Promise<SolvedBlocks> {
  const { damping = 0.01, retarget: share = 1, ranges = [0.8, 0.9, 1, 1.1], refineRounds = 3 } = options;
  const { grid } = format;
  if (!grid) throw new SchemeError(`gptq: ${format.name} has no codes to choose`);
  const [rows, columns] = weight.shape;
  const state = statistics.get(hessian);
  if (state.count === 0) throw new CalibrationError('the Hessian has seen no token');
  const permutation = activationOrder(state.sum, columns);
  const factorization = await factorize(state.sum, permutation, damping, kernels, { damped: true });
  const { factor } = factorization;
  let target = weight.data;
  if (share > 0) {
    const correction = await openCorrection(statistics.get(inputShift), state, permutation, damping, kernels);
    const residual = statistics.get(residualCross);
    ({ target } = await correctedTarget(
      { weight: weight.data, rows, correction, permutation, residual, share },
      kernels,
    ));
  }
  const importance = Float32Array.from(
    { length: columns },
    (_, j) => state.sum[j * columns + j] / state.count || 1e-12,
  );

  const matrix: BlockMatrix = { format, grid, rows, columns, groups: columns / grid.group };
  const group = Int32Array.from(permutation, (column) => Math.floor(column / grid.group));
  const solved = blockScheme(format, grid);
  const fitted = fitGroups(matrix, target, importance);
  let chosen: Candidate | undefined;
  for (const range of ranges) {
    const bytes = new Uint8Array((rows * columns * format.bytes) / format.values);
    const grids = storeScales(matrix, fitted, range, bytes);
    const solution = await gptqSolve(
      {
        ...{ rows, columns, weight: target, factor, scheme: solved, grids, group, groups: matrix.groups },
        ...{ fit: minMax(), blockSize: 128, order: permutation },
      },
      kernels,
    );
    const candidate: Candidate = { bytes, ...solution };
    if (chosen) keepBetterRows(matrix, chosen, candidate);
    else chosen = candidate;
  }
  if (!chosen) throw new SchemeError('gptq: ranges must be one or more numbers above 0');
  const free = grid.freeScales === true;
  const { codes, scales, zeros } = chosen;
  const problem = {
    ...{ rows, columns, target, hessian: factorization.damped as Float32Array, grid: roundingGrid(solved.format) },
    ...{ storage: f16Scale, groups: matrix.groups, blockSize: 128, codes, scales, zeros, refitScales: free },
    group: Int32Array.from({ length: columns }, (_, column) => Math.floor(column / grid.group)),
  };
  if (grid.multiples) refineMultiples(matrix, chosen, problem, refineRounds, kernels);
  else refine(problem, refineRounds, kernels);
  if (free) writeScales(matrix, chosen);
  eachBlock(matrix, chosen.bytes, (to, block) =>
    grid.putCodes(codes.subarray(block * format.values, (block + 1) * format.values), to),
  );

  const encoded = new Uint8Array(chosen.bytes.length);
  const encodable = format.encode(target, encoded, importance);
  const lossOf = async (bytes: Uint8Array) => {
    const values = new Float32Array(rows * columns);
    format.decode(bytes, values);
    for (let i = 0; i < values.length; i++) values[i] = target[i] - values[i];
    return kernels.rowErrors({ difference: permuteColumns(values, rows, permutation), factor, rows, columns });
  };
  const [own, plain] = [await lossOf(chosen.bytes), encodable ? await lossOf(encoded) : undefined];
  const rowBytes = chosen.bytes.length / rows;
  let [loss, encoderLoss] = [0, 0];
  for (let row = 0; row < rows; row++) {
    if (plain && plain[row] < own[row])
      chosen.bytes.set(encoded.subarray(row * rowBytes, (row + 1) * rowBytes), row * rowBytes);
    loss += plain ? Math.min(own[row], plain[row]) : own[row];
    encoderLoss += plain?.[row] ?? Number.NaN;
  }
  const values = new Float32Array(rows * columns);
  format.decode(chosen.bytes, values);
  return { bytes: chosen.bytes, values: tensor('f32', [rows, columns], values), loss, encoderLoss };
}

/** The format's levels as a scheme whose scales are already rounded. */
function blockScheme(format: BlockFormat, grid: BlockGrid): Scheme {
  const affine = [uint2, uint4, uint5].find(({ max }) => max + 1 === grid.levels.length);
  return scheme({
    // Only linear formats have zero points.
    format: grid.affine && affine ? affine : tableFormat(format.name, [...grid.levels]),
    granularity: perGroup(grid.group),
    ...(grid.affine ? { zeroPoint: 'float' } : {}),
    scaleStorage: f32Scale,
  });
}

/** Scales and minima of all groups before rounding, `[rows, groups]`. */
function fitGroups({ grid, rows, columns, groups }: BlockMatrix, target: Float32Array, importance: Float32Array) {
  const { group } = grid;
  const [scales, minima] = [new Float32Array(rows * groups), new Float32Array(rows * groups)];
  for (let at = 0; at < rows * groups; at++) {
    const start = at * group;
    const own = importance.subarray(start % columns, (start % columns) + group);
    const { scale, minimum } = grid.fit(target.subarray(start, start + group), own);
    scales[at] = scale;
    minima[at] = minimum;
  }
  return { scales, minima };
}

/**
 * Rounds scales to the precision of the blocks, writes them, and returns them in the form of the sweep: a scale and a
 * zero point.
 */
function storeScales(
  matrix: BlockMatrix,
  fitted: { readonly scales: Float32Array; readonly minima: Float32Array },
  range: number,
  bytes: Uint8Array,
): Grids {
  const { format, grid } = matrix;
  const each = format.values / grid.group;
  const scales = fitted.scales.map((scale) => scale * range);
  const zeros = fitted.minima.map((minimum) => minimum * range);
  eachBlock(matrix, bytes, (to, block) => {
    const [own, minima] = [scales, zeros].map((of) => of.subarray(block * each, (block + 1) * each));
    grid.putScales(own, minima, to);
    for (let j = 0; j < each; j++) {
      if (own[j] === 0) own[j] = vanishing;
      minima[j] /= own[j];
    }
  });
  return { scales, zeros };
}

/** Writes scales that a refit has changed; blocks of one group store them as they are. */
function writeScales(matrix: BlockMatrix, { bytes, scales }: Candidate): void {
  const [scale, minimum] = [new Float32Array(1), new Float32Array(1)];
  eachBlock(matrix, bytes, (to, block) => {
    scale[0] = Math.abs(scales[block]) <= vanishing ? 0 : scales[block];
    matrix.grid.putScales(scale, minimum, to);
  });
}

function keepBetterRows({ rows, columns, groups }: BlockMatrix, best: Candidate, found: Candidate): void {
  const rowBytes = best.bytes.length / rows;
  for (let row = 0; row < rows; row++) {
    if (!(found.loss[row] < best.loss[row])) continue;
    best.loss[row] = found.loss[row];
    const copy = (to: Float32Array | Uint8Array, from: Float32Array | Uint8Array, width: number) =>
      to.set(from.subarray(row * width, (row + 1) * width), row * width);
    copy(best.codes, found.codes, columns);
    copy(best.scales, found.scales, groups);
    copy(best.zeros, found.zeros, groups);
    copy(best.bytes, found.bytes, rowBytes);
  }
}
