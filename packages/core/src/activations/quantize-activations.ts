import { SchemeError } from '../contracts/errors.js';
import type { QuantizedTensor } from '../contracts/quantized-tensor.js';
import type { Scheme } from '../contracts/scheme.js';
import { absMax } from '../fit/abs-max.js';
import { minMax } from '../fit/min-max.js';
import type { FittedScales } from '../fit-scales.js';
import { quantize } from '../quantize.js';
import type { Tensor } from '../tensor.js';

/** The bound of the Llama 3 report (section 6.2) on the range that a dynamic FP8 scale may cover. */
export const llama3Bound = 1200;

export interface ActivationOptions {
  /** The grid of a static scheme, from an {@link ActivationFit}. */
  readonly fitted?: FittedScales;
  /**
   * Dynamic symmetric schemes: the largest magnitude that a scale is made for; what is larger saturates. A token with an
   * outlier of its own then does not lose its other features ({@link llama3Bound}).
   */
  readonly bound?: number;
}

/**
 * Activations `[tokens, features]`, scales computed on the tensor itself (dynamic: a scale a token or one for all, the
 * largest magnitude on the largest code) or known from calibration (static).
 * @throws SchemeError when a static scheme comes without its grid, or a bound makes no sense
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
  const rule = scheme.zeroPoint === 'none' ? absMax({ range: 'narrow', bound }) : minMax();
  return quantize(x, scheme, { fit: rule });
}
