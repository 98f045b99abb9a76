import { SchemeError } from '../contracts/errors.js';
import type { QuantizedTensor } from '../contracts/quantized-tensor.js';
import type { Scheme } from '../contracts/scheme.js';
import type { Tensor } from '../contracts/tensor.js';
import { absMax } from '../fit/abs-max.js';
import { minMax } from '../fit/min-max.js';
import type { FittedScales } from '../fit-scales.js';
import { quantize } from '../quantize.js';

/** The bound of the Llama 3 report (section 6.2) on the magnitudes that a dynamic FP8 scale covers. */
export const llama3Bound = 1200;

export interface ActivationOptions {
  /** The grid of a static scheme, from an {@link ActivationFit}. */
  readonly fitted?: FittedScales;
  /**
   * For dynamic symmetric schemes: the largest magnitude that a scale covers; larger values saturate. So the other
   * features of a token with an outlier keep their precision ({@link llama3Bound}).
   */
  readonly bound?: number;
}

/**
 * Quantizes activations `[tokens, features]`. Scales are computed from the tensor itself (dynamic: one scale for each
 * token or one for all; the largest magnitude gets the largest code), or come from calibration (static).
 * @throws SchemeError when a static scheme has no grid, or the bound is not valid
 * @throws NumericError when an element is NaN or infinite
 */
export function quantizeActivations(
  x: Tensor<'f32'>,
  scheme: Scheme,
  options: ActivationOptions = {},
): QuantizedTensor {
  const { fitted, bound } = options;
  if (fitted) return quantize(x, scheme, { fitted });
  if (scheme.dynamic === false) {
    throw new SchemeError(
      'a static scheme needs the grid that calibration has found: pass `fitted` (staticMinMax().fit, ...)',
    );
  }
  if (bound !== undefined && scheme.zeroPoint !== 'none') {
    throw new SchemeError('a bound on the dynamic scale is for symmetric schemes');
  }
  const fit = scheme.zeroPoint === 'none' ? absMax({ range: 'narrow', bound }) : minMax();
  return quantize(x, scheme, { fit });
}
