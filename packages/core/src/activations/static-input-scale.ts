import { CalibrationError, NumericError } from '../contracts/errors.js';
import type { FeatureState } from '../statistics/per-feature.js';
import { largestInt8Code } from './int8-input.js';

/**
 * The static scale for all calibration inputs: `max|x| / 127` over all tokens and features (SmoothQuant, O3). If all
 * inputs were 0 the scale is 1.
 * @param maxima state of `absMaxStat`
 * @throws CalibrationError when no token was seen, NumericError when an input was NaN or infinite
 */
export function staticInputScale({ values, count }: FeatureState): number {
  if (count === 0)
    throw new CalibrationError('no calibration token reached this linear: a static input scale needs some');
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new NumericError(
      `the largest input of feature ${bad} is ${values[bad]}: a calibration batch made the model overflow, or holds NaN`,
    );
  }
  const largest = values.reduce((a, b) => Math.max(a, b), 0);
  return largest === 0 ? 1 : Math.fround(largest / largestInt8Code) || 2 ** -149;
}
