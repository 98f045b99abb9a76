import { CalibrationError, NumericError } from '../contracts/errors.js';
import type { NumberFormat } from '../contracts/number-format.js';
import type { FeatureState } from '../statistics/per-feature.js';

/**
 * The static scale for all calibration inputs: `max|x|` over all tokens and features, divided by the format's largest
 * value: 127 for int8 (SmoothQuant, O3), 448 for E4M3. If all inputs were 0 the scale is 1.
 * @param maxima state of `absMaxStat`
 * @throws CalibrationError when no token was seen, NumericError when an input was NaN or infinite
 */
export function staticInputScale({ values, count }: FeatureState, { max }: Pick<NumberFormat, 'max'>): number {
  if (count === 0)
    throw new CalibrationError('no calibration token reached this linear: a static input scale needs some');
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new NumericError(
      `the largest input of feature ${bad} is ${values[bad]}: a calibration batch made the model overflow, or holds NaN`,
    );
  }
  const largest = values.reduce((a, b) => Math.max(a, b), 0);
  return largest === 0 ? 1 : Math.fround(largest / max) || 2 ** -149;
}
