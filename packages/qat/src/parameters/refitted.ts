import {
  dequantize,
  type Kernels,
  type QuantizedTensor,
  quantize,
  type ScaleFit,
  type Scheme,
  type Tensor,
  tensor,
} from '@q/core';
import type { QuantizedParameterization } from './parameterization.js';

export interface RefittedOptions {
  /** How scales are found, anew for every forward pass. Default: the scheme's own fit. */
  readonly fit?: ScaleFit;
  /**
   * No gradient for weights of at least this magnitude. The code of LLM-QAT has 2 (docs/reference/papers.md#llm-qat), which is lossy where
   * weights are large. Default: none.
   */
  readonly clipValue?: number;
  /** The kernels of the context: each forward pass fits on all their threads. The result is the same without them. */
  readonly kernels?: Pick<Kernels, 'grids'>;
}

/**
 * Trained weights whose grid follows them: scales are fitted anew for each forward pass and are constants to the
 * gradient, which passes straight through (LLM-QAT, arXiv 2305.17888). For every scheme of core, two-level storages too.
 * @param weight `[out, in]`, where training starts from; copied
 */
export function refitted(
  weight: Tensor<'f32'>,
  scheme: Scheme,
  options: RefittedOptions = {},
): QuantizedParameterization {
  const { fit, clipValue = Number.POSITIVE_INFINITY, kernels } = options;
  const data = weight.data.slice();
  const quantized = (): QuantizedTensor => quantize(tensor('f32', weight.shape, data), scheme, { fit, kernels });
  return {
    shape: weight.shape,
    parameters: { weight: data },
    value: () => dequantize(quantized()).data,
    backward: (derivative) => ({
      weight:
        clipValue === Number.POSITIVE_INFINITY
          ? derivative
          : derivative.map((d, i) => (Math.abs(data[i]) < clipValue ? d : 0)),
    }),
    quantized,
  };
}
