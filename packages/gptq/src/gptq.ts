import {
  CalibrationError,
  type Context,
  dequantize,
  fitScales,
  hessian,
  minMax,
  type QuantizedTensor,
  type QuantizeResult,
  type Quantizer,
  quantize,
  type ScaleFit,
  type Scheme,
  ShapeError,
  type Statistics,
  type Tensor,
  tiling,
} from '@q/core';
import { activationOrder, naturalOrder } from './column-order.js';
import { factorize } from './factorize.js';
import { gptqSolve } from './solve.js';

export interface GptqOptions {
  /** Round the columns with the largest inputs first. Default true. */
  readonly actOrder?: boolean;
  /**
   * With act-order: groups are the original columns and their grids are fixed beforehand, so that no reordering is needed
   * at inference. Default true. Without act-order groups are always refitted on the updated weights.
   */
  readonly staticGroups?: boolean;
  /** Added to the diagonal, as a share of its mean. Default 0.01. */
  readonly damping?: number;
  /** Columns a block. Default 128. */
  readonly blockSize?: number;
  /** How grids are fitted. The range of the values when absent. */
  readonly fit?: ScaleFit;
}

/** Rows on which GPTQ is compared with round-to-nearest: all of them up to this many, evenly spaced ones beyond. */
const comparedRows = 1024;

/**
 * GPTQ (Frantar et al., arXiv 2210.17323) in its inverse-free form. Works on any granularity whose scales belong to single
 * rows (channel, group) and on per-tensor grids, and on any number format.
 */
export function gptq(options: GptqOptions = {}): Quantizer {
  const { actOrder = true, staticGroups = true, damping = 0.01, blockSize = 128, fit = minMax() } = options;
  return {
    name: 'gptq',
    options: { actOrder, staticGroups, damping, blockSize, fit: fit.name, ...fit.options },
    needs: [hessian],
    refuse(scheme) {
      const { kind } = scheme.granularity;
      if (kind === 'block' || kind === 'flat') return `gptq needs scales per tensor, channel or group, not per ${kind}`;
      return scheme.format.bits > 8 ? `gptq quantizes to at most 8 bits, not to ${scheme.format.name}` : undefined;
    },
    async quantize(weight, statistics, scheme, context) {
      return quantizeLayer(weight, statistics, scheme, context, { actOrder, staticGroups, damping, blockSize, fit });
    },
  };
}

async function quantizeLayer(
  weight: Tensor<'f32'>,
  statistics: Statistics,
  scheme: Scheme,
  { kernels }: Context,
  options: Required<GptqOptions>,
): Promise<QuantizeResult> {
  const [rows, columns] = weight.shape;
  const state = statistics.get(hessian);
  if (state.width !== columns)
    throw new ShapeError(`the weight has ${columns} input features, its Hessian ${state.width}`);
  if (state.count === 0) throw new CalibrationError('the Hessian has seen no token');

  const permutation = options.actOrder ? activationOrder(state.sum, columns) : naturalOrder(columns);
  const { factor, damping, retries, deadColumns } = await factorize(state.sum, permutation, options.damping, kernels);

  const { scaleColumns: groups, tileColumns, tileRows } = tiling(scheme.granularity, weight.shape);
  const fixed = tileRows > 1 || groups === 1 || (options.actOrder && options.staticGroups);
  const fitted = fixed ? fitScales(weight, scheme, options.fit) : undefined;
  const group = Int32Array.from(permutation, (column, j) => Math.floor((fixed ? column : j) / tileColumns));
  const solution = await gptqSolve(
    {
      rows,
      columns,
      weight: permuteColumns(weight.data, rows, permutation),
      factor,
      scheme,
      grids: fitted && {
        scales: perRow(fitted.scales, rows, groups, tileRows),
        zeros: perRow(fitted.zeroPoints, rows, groups, tileRows),
      },
      group,
      groups,
      fit: options.fit,
      blockSize: options.blockSize,
    },
    kernels,
  );

  const codes = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) codes[row * columns + permutation[j]] = solution.codes[row * columns + j];
  }
  const reordered = !fixed && options.actOrder;
  const groupIndex = new Int32Array(columns);
  permutation.forEach((column, j) => {
    groupIndex[column] = group[j];
  });
  const quantized: QuantizedTensor = {
    scheme,
    shape: weight.shape,
    codes,
    ...(fitted ?? {
      scales: solution.scales,
      ...(scheme.zeroPoint === 'none' ? {} : { zeroPoints: solution.zeros }),
    }),
    ...(reordered ? { groupIndex } : {}),
  };

  const nearest = quantize(weight, scheme, { fit: options.fit });
  const comparison = await compare(weight, nearest, solution.loss, permutation, factor, kernels);
  const figures = { loss: comparison.own, rtnLoss: comparison.nearest, damping, retries, deadColumns };
  const notes =
    retries > 0 ? [`the Hessian could be factored only with damping ${damping} in place of ${options.damping}`] : [];
  if (comparison.own > comparison.nearest) {
    notes.push('GPTQ came out worse than round-to-nearest on the calibration inputs: round-to-nearest was kept');
    return { quantized: nearest, report: { method: 'rtn', tokens: state.count, figures, notes } };
  }
  return { quantized, report: { method: 'gptq', tokens: state.count, figures, notes } };
}

function permuteColumns(x: Float32Array, rows: number, permutation: Int32Array): Float32Array {
  const columns = permutation.length;
  const out = new Float32Array(x.length);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) out[row * columns + j] = x[row * columns + permutation[j]];
  }
  return out;
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

/** `||D R||^2` of GPTQ (known from the sweep) and of round-to-nearest, on the same rows. */
async function compare(
  weight: Tensor<'f32'>,
  nearest: QuantizedTensor,
  loss: Float64Array,
  permutation: Int32Array,
  factor: Float32Array,
  kernels: Context['kernels'],
): Promise<{ own: number; nearest: number }> {
  const [rows, columns] = weight.shape;
  const count = Math.min(rows, comparedRows);
  const values = dequantize(nearest).data;
  const difference = new Float32Array(count * columns);
  let own = 0;
  for (let i = 0; i < count; i++) {
    const row = Math.floor((i * rows) / count);
    own += loss[row];
    for (let j = 0; j < columns; j++) {
      const at = row * columns + permutation[j];
      difference[i * columns + j] = weight.data[at] - values[at];
    }
  }
  const product = await kernels.matmul({ a: difference, b: factor, m: count, n: columns, k: columns });
  let sum = 0;
  for (let i = 0; i < product.length; i++) sum += product[i] * product[i];
  return { own, nearest: sum };
}
