import {
  CalibrationError,
  type Context,
  crossHessian,
  fitScales,
  hessian,
  permuteColumns,
  plainReserve,
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
import { type Factorization, factorize } from './factorize.js';
import { refine } from './refine.js';
import { correctionHelps } from './residual-correction.js';
import { retarget } from './retarget.js';
import { roundingGrid } from './rounding-grid.js';
import { separateStorages } from './separate-storages.js';
import { solveRanges } from './solve-ranges.js';

/** {@link GptqOptions} with nothing left open. */
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
}

/** One layer from its statistics to its codes. Its factor lies where the kernels compute: all that reads it does so there. */
export async function quantizeLayer(
  weight: Tensor<'f32'>,
  statistics: Statistics,
  scheme: Scheme,
  context: Context,
  settings: GptqSettings,
): Promise<QuantizeResult> {
  const { width } = statistics.get(hessian);
  const { bytes, release } = context.kernels.stream?.reserve(4 * width ** 2) ?? plainReserve(4 * width ** 2);
  try {
    const buffer = new Float32Array(bytes.buffer, bytes.byteOffset, width ** 2);
    return await solveLayer(weight, statistics, scheme, context, settings, buffer);
  } finally {
    release();
  }
}

async function solveLayer(
  weight: Tensor<'f32'>,
  statistics: Statistics,
  scheme: Scheme,
  { kernels, profile }: Context,
  settings: GptqSettings,
  buffer: Float32Array,
): Promise<QuantizeResult> {
  const [rows, columns] = weight.shape;
  const state = statistics.get(hessian);
  if (state.width !== columns)
    throw new ShapeError(`the weight has ${columns} input features, its Hessian ${state.width}`);
  if (state.count === 0) throw new CalibrationError('the Hessian has seen no token');

  const { actOrder, staticGroups, fit, blockSize } = settings;
  const permutation = actOrder ? activationOrder(state.sum, columns) : naturalOrder(columns);
  const refines = settings.refineRounds > 0;
  const factorization = await profile.stage('factor', () =>
    factorize(state.sum, permutation, settings.damping, kernels, {
      factor: buffer,
      exact: settings.retarget > 0,
      damped: refines,
    }),
  );
  const { factor, damping, retries, deadColumns } = factorization;

  // What aims elsewhere than at the weight works on columns in order; the plain sweep takes them from where they lie.
  const plain = !refines && settings.retarget === 0 && settings.asymmetric === 0;
  let target = plain ? weight.data : permuteColumns(weight.data, rows, permutation);
  const shift =
    settings.retarget > 0 || settings.asymmetric > 0
      ? shiftOf(statistics.get(crossHessian).sum, state.sum, permutation)
      : undefined;
  let leftOut = false;
  if (shift && settings.retarget > 0) {
    const { retarget: share } = settings;
    const exact = factorization.exact as Float64Array;
    const state = settings.residual ? statistics.get(residualCross) : undefined;
    let cross = state?.sum.length === rows * columns ? permuteColumns(state.sum, rows, permutation) : undefined;
    if (state && cross) {
      const correction = { weight: weight.data, rows, cross, state, factor: exact, permutation, share };
      if (!(await profile.stage('retarget', () => correctionHelps(correction, kernels)))) {
        cross = undefined;
        leftOut = true;
      }
    }
    const own = target;
    target = await profile.stage('retarget', () => retarget(own, rows, shift, cross, exact, share, kernels));
  }

  const moved =
    shift && settings.retarget > 0 ? tensor('f32', weight.shape, restoreColumns(target, rows, permutation)) : undefined;

  const { scaleColumns: groups, tileColumns, tileRows } = tiling(scheme.granularity, weight.shape);
  const fixed = tileRows > 1 || groups === 1 || (actOrder && staticGroups);
  const importance = columnImportance(settings.importance, factorization, statistics, permutation);
  const ownOrder = importance && restoreColumns(importance, 1, permutation);
  const fitted = fixed
    ? await profile.stage('fit', () => fitScales(moved ?? weight, scheme, fit, ownOrder, kernels.grids))
    : undefined;
  const group = Int32Array.from(permutation, (column, j) => Math.floor((fixed ? column : j) / tileColumns));
  const freeScales = tileRows === 1 && separateStorages.has(scheme.scaleStorage.name);
  const grids = fitted && {
    scales: perRow(fitted.scales, rows, groups, tileRows),
    zeros: perRow(fitted.zeroPoints, rows, groups, tileRows),
  };
  const problem = {
    rows,
    columns,
    weight: target,
    factor,
    scheme,
    group,
    groups,
    fit,
    importance,
    blockSize,
    ...(plain && actOrder ? { order: permutation } : {}),
    wantsDifference: refines,
  };
  const solution = await profile.stage('sweep', () =>
    shift && settings.asymmetric > 0
      ? asymmetricSolve({ ...problem, grids }, shift, settings.asymmetric, kernels)
      : solveRanges({ ...problem, grids }, freeScales ? settings.ranges : [1], kernels),
  );
  if (refines) {
    const rounded = {
      ...solution,
      difference: solution.difference as Float32Array,
      rows,
      columns,
      target,
      hessian: factorization.damped as Float32Array,
      grid: roundingGrid(scheme.format),
      storage: scheme.scaleStorage,
      group,
      groups,
      blockSize,
      refitScales: freeScales,
    };
    await profile.stage('refine', () => refine(rounded, settings.refineRounds, kernels));
  }

  const groupIndex = new Int32Array(columns);
  permutation.forEach((column, j) => {
    groupIndex[column] = group[j];
  });
  const quantized: QuantizedTensor = {
    scheme,
    shape: weight.shape,
    codes: plain ? solution.codes : restoreColumns(solution.codes, rows, permutation),
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

/** `C - H`, both axes permuted, from sums in f64: rounded to f32 only after the difference is taken. */
function shiftOf(cross: ArrayLike<number>, own: ArrayLike<number>, permutation: Int32Array): Float32Array {
  const n = permutation.length;
  const shift = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const at = permutation[i] * n + permutation[j];
      shift[i * n + j] = cross[at] - own[at];
    }
  }
  return shift;
}

/**
 * Weights of the columns for the grid's fit, in the order of the factor. `diagonal`: mean square of the input, which is
 * what rounding to nearest costs. `conditional`: `R_jj^2`, what is left of it after the later columns have made up for it.
 * `reference`: mean square of the input in the unquantized model.
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
    const { referenceSquares } = statistics.get(crossHessian);
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
