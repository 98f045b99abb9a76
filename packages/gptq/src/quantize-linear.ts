import {
  CalibrationError,
  type Context,
  fitScales,
  hessian,
  inputShift,
  type Kernels,
  permuteColumns,
  type QuantizedTensor,
  type QuantizeResult,
  residualCross,
  restoreColumns,
  type ScaleFit,
  type Scheme,
  ShapeError,
  type Statistics,
  type Tensor,
  tensor,
  tiling,
} from '@q/core';
import { asymmetricSolve } from './asymmetric.js';
import { activationOrder, naturalOrder } from './column-order.js';
import { correctedTarget } from './corrected-target.js';
import { type Factorization, factorize } from './factorize.js';
import { linearInputs, shiftOf } from './linear-inputs.js';
import { type RefineProblem, refine } from './refine.js';
import { roundingGrid } from './rounding-grid.js';
import { separateStorages } from './separate-storages.js';
import { solveRanges } from './solve-ranges.js';

/** {@link GptqOptions} with all defaults filled in. */
export interface GptqSettings {
  readonly actOrder: boolean;
  readonly staticGroups: boolean;
  readonly damping: number;
  readonly blockSize: number;
  readonly fit: ScaleFit;
  readonly importance: 'none' | 'diagonal' | 'conditional' | 'reference';
  readonly retarget: number;
  readonly residual: boolean;
  readonly refineRounds: number;
  readonly ranges: readonly number[];
  readonly asymmetric: number;
  /**
   * Runs after the refinement of rows. It improves the problem's codes and scales in place, and returns a note or
   * nothing.
   */
  readonly refineFurther?: (
    problem: RefineProblem,
    statistics: Statistics,
    rounds: number,
    kernels: Kernels,
  ) => Promise<string | undefined>;
}

/** Quantizes one linear from its statistics. Its factor stays in the kernels' memory, and is only read there. */
export async function quantizeLinear(
  weight: Tensor<'f32'>,
  statistics: Statistics,
  scheme: Scheme,
  context: Context,
  settings: GptqSettings,
): Promise<QuantizeResult> {
  const { width } = statistics.get(hessian);
  const { bytes, release } = context.kernels.stream.reserve(4 * width ** 2);
  try {
    const buffer = new Float32Array(bytes.buffer, bytes.byteOffset, width ** 2);
    return await solveLinear({ weight, statistics, scheme, buffer }, settings, context);
  } finally {
    release();
  }
}

/** A linear that is solved, and the memory for it. */
interface LinearWork {
  /** `[out, in]` */
  readonly weight: Tensor<'f32'>;
  readonly statistics: Statistics;
  readonly scheme: Scheme;
  /** `[in, in]` in the kernels' memory. The factor is written here. */
  readonly buffer: Float32Array;
}

async function solveLinear(
  { weight, statistics, scheme, buffer }: LinearWork,
  settings: GptqSettings,
  { kernels, profile }: Context,
): Promise<QuantizeResult> {
  const [rows, columns] = weight.shape;
  const state = statistics.get(hessian);
  if (state.width !== columns)
    throw new ShapeError(`the weight has ${columns} input features, its Hessian ${state.width}`);
  if (state.count === 0) throw new CalibrationError('the Hessian has seen no token');

  const { actOrder, staticGroups, fit, blockSize, refineRounds, asymmetric, retarget: share } = settings;
  const permutation = actOrder ? activationOrder(state.sum, columns) : naturalOrder(columns);
  const inputs =
    share > 0
      ? await profile.stage('factor', () =>
          linearInputs(
            state,
            { damping: settings.damping, permutation, buffer, shift: statistics.get(inputShift) },
            kernels,
          ),
        )
      : undefined;
  const factorization =
    inputs?.factorization ??
    (await profile.stage('factor', () =>
      factorize(state.sum, permutation, settings.damping, kernels, {
        factor: buffer,
        damped: refineRounds > 0,
      }),
    ));
  const { factor, damping, retries, deadColumns } = factorization;

  let target = weight.data;
  const correction = inputs?.correction;
  let leftOut = false;
  if (correction) {
    const residual = settings.residual ? statistics.get(residualCross) : undefined;
    const uncorrected = {
      weight: weight.data,
      rows,
      correction,
      permutation,
      share,
      ...(residual ? { residual } : {}),
    };
    ({ target, leftOut } = await profile.stage('retarget', () => correctedTarget(uncorrected, kernels)));
  }
  const moved = correction ? tensor('f32', weight.shape, target) : undefined;

  const { scaleColumns: groups, tileColumns, tileRows } = tiling(scheme.granularity, weight.shape);
  const fixed = tileRows > 1 || groups === 1 || (actOrder && staticGroups);
  const importance = columnImportance(settings.importance, factorization, statistics, permutation);
  const ownOrder = importance && restoreColumns(importance, 1, permutation);
  const fitted = fixed
    ? await profile.stage('fit', () => fitScales(moved ?? weight, scheme, fit, ownOrder, kernels))
    : undefined;
  const group = Int32Array.from(permutation, (column, j) => Math.floor((fixed ? column : j) / tileColumns));
  const freeScales = tileRows === 1 && separateStorages.has(scheme.scaleStorage.name);
  const grids = fitted && {
    scales: perRow(fitted.scales, rows, groups, tileRows),
    zeros: perRow(fitted.zeroPoints, rows, groups, tileRows),
  };
  const problem = {
    ...{ rows, columns, weight: target, factor, scheme, group, groups, fit, importance, blockSize },
    ...(actOrder ? { order: permutation } : {}),
  };
  const solution = await profile.stage('sweep', () =>
    asymmetric > 0
      ? asymmetricSolve({ ...problem, grids }, shiftOf(statistics.get(inputShift), permutation), asymmetric, kernels)
      : solveRanges({ ...problem, grids }, freeScales ? settings.ranges : [1], kernels),
  );
  const groupIndex = new Int32Array(columns);
  permutation.forEach((column, j) => {
    groupIndex[column] = group[j];
  });
  let further: string | undefined;
  if (refineRounds > 0) {
    const { scales, zeros } = solution;
    const damped = factorization.damped as Float32Array;
    const rounded = {
      ...{ rows, columns, scales, zeros, grid: roundingGrid(scheme.format), storage: scheme.scaleStorage },
      ...{ groups, blockSize, refitScales: freeScales },
    };
    // Groups that were fitted during the sweep are consecutive only in the order of the sweep.
    const swept = !fixed && actOrder;
    const own = { target, codes: solution.codes, hessian: damped, group: groupIndex };
    const ordered = swept ? sweptOrder(own, rows, permutation, group) : own;
    const refined = { ...rounded, ...ordered };
    await profile.stage('refine', () => refine(refined, refineRounds, kernels));
    further = await profile.stage('refine further', () =>
      settings.refineFurther?.(refined, statistics, refineRounds, kernels),
    );
    if (swept) solution.codes.set(restoreColumns(ordered.codes, rows, permutation));
  }
  const quantized: QuantizedTensor = {
    scheme,
    shape: weight.shape,
    codes: solution.codes,
    ...(fitted && !freeScales
      ? fitted
      : {
          scales: solution.scales,
          ...(scheme.zeroPoint === 'none' ? {} : { zeroPoints: solution.zeros }),
        }),
    ...(!fixed && actOrder ? { groupIndex } : {}),
  };

  const notes =
    retries > 0 ? [`the Hessian could be factored only with damping ${damping} instead of ${settings.damping}`] : [];
  if (further) notes.push(further);
  if (leftOut)
    notes.push(
      'the error of the residual stream was not corrected here: a few tokens are so much larger than all others that the correction would have made the others worse',
    );
  return {
    quantized,
    report: { method: 'gptq', tokens: state.count, figures: { damping, retries, deadColumns }, notes },
    ...(moved ? { target: moved } : {}),
  };
}

/** The problem of the refinement, with columns in the order of the sweep. */
function sweptOrder(
  { target, codes, hessian }: { target: Float32Array; codes: Uint8Array; hessian: Float32Array },
  rows: number,
  permutation: Int32Array,
  group: Int32Array,
) {
  const n = permutation.length;
  const matrix = new Float32Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) matrix[i * n + j] = hessian[permutation[i] * n + permutation[j]];
  return {
    target: permuteColumns(target, rows, permutation),
    codes: permuteColumns(codes, rows, permutation),
    hessian: matrix,
    group,
  };
}

/**
 * Weights of the columns for the grid's fit, in the order of the factor. `diagonal`: mean square of the input, the cost
 * of rounding to nearest. `conditional`: `R_jj^2`, the part of it that remains after the later columns have
 * compensated. `reference`: mean square of the input in the unquantized model.
 */
function columnImportance(
  kind: GptqSettings['importance'],
  { diagonal, factor }: Factorization,
  statistics: Statistics,
  permutation: Int32Array,
): Float32Array | undefined {
  if (kind === 'none') return undefined;
  const n = permutation.length;
  if (kind === 'reference') {
    const { referenceSquares } = statistics.get(inputShift);
    return Float32Array.from(permutation, (column) => referenceSquares[column]);
  }
  return kind === 'diagonal' ? diagonal : Float32Array.from({ length: n }, (_, j) => factor[j * n + j] ** 2);
}

/** Grids as `[rows, groups]`, also when all rows share one. */
function perRow(values: Float32Array | undefined, rows: number, groups: number, tileRows: number): Float32Array {
  const out = new Float32Array(rows * groups);
  if (!values) return out;
  for (let row = 0; row < rows; row++) {
    const from = Math.floor(row / tileRows) * groups;
    out.set(values.subarray(from, from + groups), row * groups);
  }
  return out;
}
