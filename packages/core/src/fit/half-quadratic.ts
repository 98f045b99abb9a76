import type { OptionValues } from '../contracts/option.js';
import type { ScaleFit } from '../contracts/scale-fit.js';
import { roundHalfEven } from '../dtypes/round.js';
import { checkOptions } from '../options/check-options.js';
import { integer, number } from '../options/option.js';
import { minMax } from './min-max.js';

export const halfQuadraticOptions = {
  /** Norm of the error, below 1: robust against outliers. Default 0.7. */
  p: number({
    above: 0,
    below: 1,
    default: 0.7,
    help: 'Norm of the error; a smaller one is more robust against outliers.',
  }),
  /** Strength of the shrinkage. Default 10. */
  beta: number({ above: 0, default: 10, help: 'Strength of the shrinkage.' }),
  /** Largest number of iterations. Default 20. */
  iterations: integer({ min: 1, default: 20, help: 'Largest number of iterations for a group.' }),
};

export type HalfQuadraticOptions = OptionValues<typeof halfQuadraticOptions>;

/**
 * HQQ (docs/reference/papers.md#hqq): the scale of the range, and the zero point that minimises the p-norm of the error by half-quadratic
 * splitting: shrink the error, `sign(e) max(0, |e| - |e|^(p-1) / beta)`, then take the mean that makes the rest vanish.
 * Stops when the mean error rises. Zero points are real numbers; a scheme with integer ones gets them rounded.
 */
export function halfQuadratic(options: HalfQuadraticOptions = {}): ScaleFit {
  const { p, beta, iterations } = checkOptions('halfQuadratic', halfQuadraticOptions, options);
  const range = minMax();
  return {
    name: 'halfQuadratic',
    options: { p, beta, iterations },
    fit(panel) {
      const { values, rows, columns, scheme, scale, zero } = panel;
      range.fit(panel);
      if (scheme.zeroPoint === 'none') return;
      const { min, max } = scheme.format;
      for (let row = 0; row < rows; row++) {
        if (scale[row] === 0) continue;
        const own = values.subarray(row * columns, (row + 1) * columns);
        let offset = zero[row];
        let bestOffset = offset;
        let bestError = Number.POSITIVE_INFINITY;
        for (let iteration = 0; iteration < iterations; iteration++) {
          let error = 0;
          let sum = 0;
          for (let j = 0; j < columns; j++) {
            const v = own[j] / scale[row] + offset;
            const q = v < min ? min : v > max ? max : roundHalfEven(v);
            const e = own[j] - (q - offset) * scale[row];
            const magnitude = Math.abs(e);
            error += magnitude;
            const shrunk = magnitude === 0 ? 0 : Math.sign(e) * Math.max(0, magnitude - magnitude ** (p - 1) / beta);
            sum += q - (own[j] - shrunk) / scale[row];
          }
          if (error >= bestError) break;
          bestError = error;
          bestOffset = offset;
          offset = Math.fround(sum / columns);
        }
        zero[row] = scheme.zeroPoint === 'float' ? bestOffset : Math.min(max, Math.max(min, roundHalfEven(bestOffset)));
      }
    },
  };
}
