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
  /** Finds the scales again for every forward pass. Default: the scheme's own fit. */
  readonly fit?: ScaleFit;
  /**
   * Weights of at least this magnitude get no gradient. The code of LLM-QAT has 2 (docs/reference/papers.md#llm-qat),
   * which loses accuracy if weights are large. Default: none.
   */
  readonly clipValue?: number;
  /** The kernels of the context: each forward pass fits on all their threads. The result is the same without them. */
  readonly kernels?: Pick<Kernels, 'grids'>;
}

/**
 * Trained weights whose grid follows them. Scales are fitted again for each forward pass. The gradient treats them as
 * constants and passes through the rounding unchanged (LLM-QAT, arXiv 2305.17888). It works for every scheme of core,
 * two-level storages too.
 * @param weight `[out, in]`, the initial weights; copied
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
