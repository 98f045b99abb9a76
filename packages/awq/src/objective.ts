import {
  type Context,
  dequantize,
  hessian,
  type Kernels,
  quantize,
  type ScaleFit,
  type Scheme,
  SchemeError,
  scaleColumns,
  type Tensor,
  type TransformInput,
} from '@q/core';
import type { ScaleError } from './search-scales.js';

/** The error of candidates: made once for an edge, called for each candidate. */
export type Objective = (
  input: TransformInput,
  consumers: readonly string[],
  fit: ScaleFit,
  context: Context,
) => ScaleError;

/** `Q(W diag(s)) diag(1/s)`: the weight that a consumer has after scaling, in the unscaled channels. */
export function roundScaled(
  weight: Tensor<'f32'>,
  scheme: Scheme,
  scales: Float32Array,
  fit: ScaleFit,
  kernels: Kernels,
): Tensor<'f32'> {
  const rounded = dequantize(quantize(scaleColumns(weight, scales), scheme, { fit, kernels }));
  const { data } = rounded;
  const width = scales.length;
  for (let start = 0; start < data.length; start += width) for (let j = 0; j < width; j++) data[start + j] /= scales[j];
  return rounded;
}

/**
 * The paper's objective: the mean squared change of the output that the whole attention or MLP adds to the residual
 * stream.
 */
export const moduleError: Objective = (input, consumers, fit, { kernels }) => {
  const { evaluate } = input;
  if (!evaluate)
    throw new SchemeError('awq: objective module needs a run that can evaluate blocks; choose objective layer');
  return (scales) =>
    evaluate(
      new Map(
        consumers.map((module) => [`${module}.weight`, roundScaled(...weightOf(input, module), scales, fit, kernels)]),
      ),
      consumers,
    );
};

/** `tr(D H D^T) / count` summed over the consumers, `D = Q(W s)/s - W`: the mean squared change of their outputs. */
export const layerError: Objective = (input, consumers, fit, { kernels }) => {
  const { sum, count } = input.statistics(consumers[0]).get(hessian);
  const b = new Float32Array(sum);
  const products = new Map<string, Float32Array>();
  return async (scales) => {
    let total = 0;
    for (const module of consumers) {
      const [weight, scheme] = weightOf(input, module);
      const [rows, columns] = weight.shape;
      const a = roundScaled(weight, scheme, scales, fit, kernels).data;
      for (let i = 0; i < a.length; i++) a[i] -= weight.data[i];
      const out = products.get(module);
      const product = await kernels.matmul({ a, b, m: rows, n: columns, k: columns, ...(out ? { out } : {}) });
      products.set(module, product);
      for (let i = 0; i < a.length; i++) total += a[i] * product[i];
    }
    return Math.max(0, total) / count;
  };
};

function weightOf(input: TransformInput, module: string): [Tensor<'f32'>, Scheme] {
  return [input.weights.get(`${module}.weight`) as Tensor<'f32'>, input.scheme(module) as Scheme];
}
