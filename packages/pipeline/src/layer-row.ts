import {
  dequantize,
  describeScheme,
  elementCount,
  type Kernels,
  type LayerReport,
  minMax,
  NumericError,
  type QuantizedTensor,
  quantize,
  type Tensor,
} from '@q/core';
import { byteLength } from '@q/safetensors';
import type { Plan, PlannedModule } from './plan.js';
import type { LayerRow } from './report.js';

/** Rows of a weight on which its error is measured: enough for two digits, at a small share of the solver's time. */
const measuredRows = 256;

/**
 * The report's row of a layer, and the last guard: values must be finite.
 * @param hessian `X^T X` of the layer's inputs; absent for data-free methods
 * @throws NumericError naming the module
 */
export async function layerRow(
  plan: Plan,
  planned: PlannedModule,
  weight: Tensor<'f32'>,
  quantized: QuantizedTensor,
  report: LayerReport,
  hessian: ArrayLike<number> | undefined,
  kernels: Kernels,
): Promise<{ row: LayerRow; values: Tensor<'f32'> }> {
  const { linear, scheme } = planned;
  const values = dequantize(quantized);
  let finite = 0;
  for (let i = 0; i < values.data.length; i++) finite += values.data[i] - values.data[i];
  if (finite !== 0)
    throw new NumericError(
      `${linear.module}: ${report.method} produced values that are not finite: use f32 scales or another method`,
    );
  const [error, rtnError] = await errors(
    weight,
    [values, dequantize(quantize(weight, scheme, { fit: minMax() }))],
    hessian,
    kernels,
  );
  return {
    values,
    row: {
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
    },
  };
}

/** Relative errors `tr(D H D^T) / tr(W H W^T)` of several versions of a weight, on evenly spaced rows. */
async function errors(
  weight: Tensor<'f32'>,
  versions: readonly Tensor<'f32'>[],
  hessian: ArrayLike<number> | undefined,
  kernels: Kernels,
): Promise<number[]> {
  const [rows, columns] = weight.shape;
  const count = Math.min(rows, measuredRows);
  const sample = (data: Float32Array, subtract?: Float32Array) => {
    const out = new Float32Array(count * columns);
    for (let i = 0; i < count; i++) {
      const from = Math.floor((i * rows) / count) * columns;
      for (let j = 0; j < columns; j++) out[i * columns + j] = data[from + j] - (subtract ? subtract[from + j] : 0);
    }
    return out;
  };
  const b = hessian ? new Float32Array(hessian) : undefined;
  const energy = async (x: Float32Array) => {
    const product = b ? await kernels.matmul({ a: x, b, m: count, n: columns, k: columns }) : x;
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += x[i] * product[i];
    return sum;
  };
  const norm = await energy(sample(weight.data));
  const out: number[] = [];
  for (const version of versions) {
    const error = await energy(sample(weight.data, version.data));
    out.push(norm > 0 ? Math.max(0, error) / norm : 0);
  }
  return out;
}
