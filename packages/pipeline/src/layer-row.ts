import {
  allFinite,
  dequantize,
  describeScheme,
  elementCount,
  type GridKernels,
  type Kernels,
  type LayerReport,
  minMax,
  NumericError,
  type QuantizedTensor,
  quantize,
  type Tensor,
  tensor,
} from '@q/core';
import { byteLength } from '@q/safetensors';
import type { Plan, PlannedModule } from './plan.js';
import type { LayerRow } from './report.js';

/** Rows of a weight on which its error is measured: enough for two digits, at a small share of the solver's time. */
const measuredRows = 256;

/** What is known of a layer that was calibrated. */
interface Calibrated {
  /** The quantized weight's values. */
  readonly values: Tensor<'f32'>;
  /** `X^T X` of the layer's inputs. */
  readonly hessian?: ArrayLike<number>;
}

/**
 * The report's row of a layer, and the last guard: values must be finite.
 * @throws NumericError naming the module
 */
export async function layerRow(
  plan: Plan,
  planned: PlannedModule,
  weight: Tensor<'f32'>,
  quantized: QuantizedTensor,
  report: LayerReport,
  kernels: Kernels,
  calibrated?: Calibrated,
): Promise<LayerRow> {
  const { linear, scheme } = planned;
  const [rows] = weight.shape;
  const count = Math.min(rows, measuredRows);
  const sample = Array.from({ length: count }, (_, i) => Math.floor((i * rows) / count));
  const values = calibrated?.values ?? (ownGrids(quantized) ? undefined : dequantize(quantized));
  if (!(values ? allFinite(values.data) : gridsFinite(quantized)))
    throw new NumericError(
      `${linear.module}: ${report.method} produced values that are not finite: use f32 scales or another method`,
    );
  const measured = rowsOf(weight, sample);
  const options = { fit: minMax(), grids: kernels.grids };
  let found: readonly number[] | undefined;
  if (!values && kernels.grids) {
    const versions = [quantizedRows(quantized, sample), quantize(measured, scheme, options)];
    found = errorsOnGrids(measured, versions, kernels.grids);
  }
  if (!found) {
    const own = values ? rowsOf(values, sample) : dequantize(quantizedRows(quantized, sample));
    // Where rows are rounded by themselves, those that are measured are enough.
    const nearest = ownGrids(quantized)
      ? dequantize(quantize(measured, scheme, options))
      : rowsOf(dequantize(quantize(weight, scheme, options)), sample);
    found = await errors(measured.data, [own.data, nearest.data], sample.length, calibrated?.hessian, kernels);
  }
  const [error, rtnError] = found;
  return {
    module: linear.module,
    method: report.method,
    scheme: describeScheme(scheme),
    shape: weight.shape,
    bytesBefore:
      plan.rows.find(({ name }) => name === `${linear.module}.weight`)?.bytesBefore ?? 4 * elementCount(weight.shape),
    bytesAfter: plan.recipe.layout.plan(planned).reduce((sum, part) => sum + byteLength(part), 0),
    tokens: report.tokens,
    error,
    rtnError,
    figures: report.figures,
    notes: report.notes,
  };
}

/** Each row has grids of its own whose scales are stored as they are, in groups of consecutive columns. */
function ownGrids({ scheme, groupIndex, codebook, storedScales }: QuantizedTensor): boolean {
  const { kind } = scheme.granularity;
  return (kind === 'group' || kind === 'channel') && !groupIndex && !codebook && !storedScales?.parts;
}

/** Whether both ends of every grid are finite in f32, and so is all between them. */
function gridsFinite({ scheme, scales, zeroPoints }: QuantizedTensor): boolean {
  const { min, max } = scheme.format;
  let sum = 0;
  for (let i = 0; i < scales.length; i++) {
    const zero = zeroPoints?.[i] ?? 0;
    const ends = Math.fround((min - zero) * scales[i]) + Math.fround((max - zero) * scales[i]);
    sum += ends - ends;
  }
  return sum === 0;
}

function rowsOf({ shape, data }: Tensor<'f32'>, rows: readonly number[]): Tensor<'f32'> {
  const [, columns] = shape;
  const out = new Float32Array(rows.length * columns);
  for (const [i, row] of rows.entries()) out.set(data.subarray(row * columns, (row + 1) * columns), i * columns);
  return tensor('f32', [rows.length, columns], out);
}

function quantizedRows(
  { scheme, shape, codes, scales, zeroPoints }: QuantizedTensor,
  rows: readonly number[],
): QuantizedTensor {
  const [height, columns] = shape;
  const groups = scales.length / height;
  const pick = <A extends Float32Array | Uint8Array | Uint16Array>(all: A, width: number): A => {
    const out = all.slice(0, rows.length * width) as A;
    for (const [i, row] of rows.entries()) out.set(all.subarray(row * width, (row + 1) * width), i * width);
    return out;
  };
  return {
    scheme,
    shape: [rows.length, columns],
    codes: pick(codes, columns),
    scales: pick(scales, groups),
    ...(zeroPoints ? { zeroPoints: pick(zeroPoints, groups) } : {}),
  };
}

/** Relative errors of versions on grids of integers, their rows as in the weight; nothing for other versions. */
function errorsOnGrids(
  { shape: [rows, columns], data: values }: Tensor<'f32'>,
  versions: readonly QuantizedTensor[],
  grids: GridKernels,
): number[] | undefined {
  const found: number[] = [];
  for (const { scheme, codes, scales, zeroPoints: zeros } of versions) {
    const { granularity, format } = scheme;
    if (format.family !== 'linear' || !(codes instanceof Uint8Array)) return undefined;
    const groupSize = granularity.kind === 'group' ? granularity.size : columns;
    const sums = new Float64Array(2 * scales.length);
    grids.errors({ values, rows, columns, groupSize, scales, zeros, min: format.min, codes, sums });
    let [error, norm] = [0, 0];
    for (let i = 0; i < sums.length; i += 2) {
      error += sums[i];
      norm += sums[i + 1];
    }
    found.push(norm > 0 ? error / norm : 0);
  }
  return found;
}

/** Relative errors `tr(D H D^T) / tr(W H W^T)` of several versions of the rows of a weight. */
async function errors(
  weight: Float32Array,
  versions: readonly Float32Array[],
  rows: number,
  hessian: ArrayLike<number> | undefined,
  kernels: Kernels,
): Promise<number[]> {
  const columns = weight.length / rows;
  const size = weight.length;
  // One product for all of them: a wide layer's Hessian is as large as the products' memory.
  const stacked = new Float32Array((1 + versions.length) * size);
  stacked.set(weight);
  for (const [index, version] of versions.entries()) {
    const at = (index + 1) * size;
    for (let i = 0; i < size; i++) stacked[at + i] = weight[i] - version[i];
  }
  let product: Float32Array = stacked;
  if (hessian) {
    // A set of the elements is four times quicker than the constructor.
    const b = new Float32Array(hessian.length);
    b.set(hessian);
    product = await kernels.matmul({ a: stacked, b, m: stacked.length / columns, n: columns, k: columns });
  }
  const [norm, ...energies] = [weight, ...versions].map((_, index) => {
    let sum = 0;
    for (let i = index * size; i < (index + 1) * size; i++) sum += stacked[i] * product[i];
    return sum;
  });
  return energies.map((energy) => (norm > 0 ? Math.max(0, energy) / norm : 0));
}
