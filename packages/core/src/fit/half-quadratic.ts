import type { OptionValues } from '../contracts/option.js';
import type { ScaleFit } from '../contracts/scale-fit.js';
import type { Scheme } from '../contracts/scheme.js';
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

/** Adding and subtracting 1.5 * 2^52 rounds an f64 of magnitude below 2^51 half to even, without a branch. */
const roundingMagic = 6755399441055744;

/**
 * HQQ (docs/reference/papers.md#hqq): the scale of the range, and the zero point that minimises the p-norm of the error
 * by half-quadratic splitting. Each iteration shrinks the error, `sign(e) max(0, |e| - |e|^(p-1) / beta)`, and then
 * takes the mean for which the rest vanishes. It stops when the mean error rises. Zero points are real numbers; for a
 * scheme with integer ones they are rounded.
 */
export function halfQuadratic(options: HalfQuadraticOptions = {}): ScaleFit {
  const { p, beta, iterations } = checkOptions('halfQuadratic', halfQuadraticOptions, options);
  const range = minMax();
  // Errors up to beta^(-1/(2-p)), 0.17 with the defaults, become 0. Most weights are smaller than that, so their power
  // need not be computed. The limit is a billionth below it, where rounding cannot change the result.
  const vanishes = beta ** (-1 / (2 - p)) * (1 - 1e-9);

  /**
   * The best zero point for a row of scale `step`, beginning at `start`. `quotients` is scratch, as long as the row.
   */
  function search(own: Float32Array, { format }: Scheme, step: number, start: number, quotients: Float64Array): number {
    const { min, max } = format;
    const columns = own.length;
    for (let j = 0; j < columns; j++) quotients[j] = own[j] / step;
    let offset = start;
    let bestOffset = start;
    let bestError = Number.POSITIVE_INFINITY;
    for (let iteration = 0; iteration < iterations; iteration++) {
      let error = 0;
      let sum = 0;
      for (let j = 0; j < columns; j++) {
        const v = quotients[j] + offset;
        const q = v < min ? min : v > max ? max : v + roundingMagic - roundingMagic;
        const e = own[j] - (q - offset) * step;
        const magnitude = Math.abs(e);
        error += magnitude;
        if (magnitude < vanishes) sum += q - quotients[j];
        else {
          const shrunk = Math.sign(e) * Math.max(0, magnitude - magnitude ** (p - 1) / beta);
          sum += q - (own[j] - shrunk) / step;
        }
      }
      if (error >= bestError) break;
      bestError = error;
      bestOffset = offset;
      offset = Math.fround(sum / columns);
    }
    return bestOffset;
  }

  return {
    name: 'halfQuadratic',
    options: { p, beta, iterations },
    fit(panel) {
      const { values, rows, columns, scheme, scale, zero } = panel;
      range.fit(panel);
      if (scheme.zeroPoint === 'none') return;
      const { min, max } = scheme.format;
      const quotients = new Float64Array(columns);
      for (let row = 0; row < rows; row++) {
        if (scale[row] === 0) continue;
        const own = values.subarray(row * columns, (row + 1) * columns);
        const found = search(own, scheme, scale[row], zero[row], quotients);
        zero[row] = scheme.zeroPoint === 'float' ? found : Math.min(max, Math.max(min, roundHalfEven(found)));
      }
    },
  };
}
