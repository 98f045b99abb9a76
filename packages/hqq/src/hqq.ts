import {
  type HalfQuadraticOptions,
  halfQuadratic,
  halfQuadraticOptions,
  type Method,
  type Quantizer,
  quantize,
} from '@q/core';

export type HqqOptions = HalfQuadraticOptions;

/**
 * HQQ (half-quadratic quantization, Badri and Shaji 2023; docs/reference/papers.md#hqq): round-to-nearest on the range
 * of the values with zero points that minimise the p-norm of the error, p < 1. Data-free; it takes a few passes over
 * the weights.
 *
 * Zero points are real numbers under a scheme with `zeroPoint: 'float'`. Under `'integer'` they are rounded, which
 * loses much of the gain and fits every layout. A symmetric scheme has no zero points and is refused.
 */
export function hqq(options: HqqOptions = {}): Quantizer {
  const fit = halfQuadratic(options);
  return {
    name: 'hqq',
    options: fit.options,
    needs: [],
    refuse(scheme) {
      if (scheme.zeroPoint === 'none')
        return 'hqq solves for zero points, and a symmetric scheme has none: use an asymmetric one';
      return undefined;
    },
    async quantize(weight, _statistics, scheme, { kernels }) {
      return {
        quantized: quantize(weight, scheme, { fit, kernels }),
        report: { method: 'hqq', tokens: 0, figures: {}, notes: [] },
      };
    },
  };
}

/** The method for the command and recipes. */
export const hqqMethod: Method<typeof halfQuadraticOptions> = {
  name: 'hqq',
  summary: 'zero points that minimise a robust norm of the error; needs no text',
  options: halfQuadraticOptions,
  quantizer: hqq,
  floatZeroPoints: true,
};
