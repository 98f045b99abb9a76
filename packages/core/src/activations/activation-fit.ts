import { CalibrationError, SchemeError } from '../contracts/errors.js';
import type { ScaleFit } from '../contracts/scale-fit.js';
import type { Scheme } from '../contracts/scheme.js';
import type { Statistic, Statistics } from '../contracts/statistic.js';
import { absMax } from '../fit/abs-max.js';
import { minMax } from '../fit/min-max.js';
import { weightedSearch } from '../fit/weighted-search.js';
import { type FittedScales, fitScales } from '../fit-scales.js';
import { perTensor } from '../schemes/granularity.js';
import { histogram, histogramQuantile, histogramValues } from '../statistics/histogram.js';
import { movingAverageRange } from '../statistics/moving-average-range.js';
import { minMaxStat } from '../statistics/per-feature.js';
import { tensor } from '../tensor.js';

/** Finds the static grid of a linear's input from the statistics of calibration. */
export interface ActivationFit {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** The statistics that it needs. */
  readonly needs: readonly Statistic<any>[];
  /**
   * One scale, and one zero point if the scheme has zero points.
   * @throws CalibrationError when no token was seen, or NaN or infinities were
   */
  fit(statistics: Statistics, scheme: Scheme): FittedScales;
}

/** Symmetric grids of activations: the largest magnitude gets the largest code, so integers stay in -127..127. */
export const symmetricActivations: ScaleFit = absMax({ range: 'narrow' });

/** The grid of a range, zero included. */
function gridOf(name: string, low: number, high: number, scheme: Scheme): FittedScales {
  if (!(Number.isFinite(low) && Number.isFinite(high))) {
    const seen = low > high ? 'no values were seen' : 'the inputs hold NaN or infinities';
    throw new CalibrationError(`${name}: activations range from ${low} to ${high}: ${seen}`);
  }
  const fit = scheme.zeroPoint === 'none' ? symmetricActivations : minMax();
  return fitScales(tensor('f32', [2], Float32Array.of(low, high)), { ...scheme, granularity: perTensor }, fit);
}

/** The range of all values, from the smallest to the largest. */
export function staticMinMax(): ActivationFit {
  return {
    name: 'staticMinMax',
    options: {},
    needs: [minMaxStat],
    fit(statistics, scheme) {
      const { values, width } = statistics.get(minMaxStat);
      let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
      for (let j = 0; j < width; j++) {
        low = Math.min(low, values[j]);
        high = Math.max(high, values[width + j]);
      }
      return gridOf('staticMinMax', low, high, scheme);
    },
  };
}

/**
 * The range between the shares `1 - p` and `p` of all values.
 * @throws SchemeError when p is not above 0.5 and at most 1
 */
export function staticPercentile(options: { readonly p?: number } = {}): ActivationFit {
  const { p = 0.9999 } = options;
  if (!(p > 0.5 && p <= 1)) throw new SchemeError(`staticPercentile p must be above 0.5 and at most 1, got ${p}`);
  return {
    name: 'staticPercentile',
    options: { p },
    needs: [histogram],
    fit(statistics, scheme) {
      const state = statistics.get(histogram);
      const finite = Number.isFinite(state.low) && Number.isFinite(state.high);
      const [low, high] = finite
        ? [histogramQuantile(state, 1 - p), histogramQuantile(state, p)]
        : [state.low, state.high];
      return gridOf('staticPercentile', low, high, scheme);
    },
  };
}

/** The grid of least squared error over all calibration values ({@link weightedSearch} on their histogram). */
export function staticMse(): ActivationFit {
  const search = weightedSearch();
  return {
    name: 'staticMse',
    options: {},
    needs: [histogram],
    fit(statistics, scheme) {
      const state = statistics.get(histogram);
      if (!(Number.isFinite(state.low) && Number.isFinite(state.high))) {
        return gridOf('staticMse', state.low, state.high, scheme);
      }
      const { values, counts } = histogramValues(state);
      // Integer kernels need activations with a positive scale.
      const positive = { ...scheme, granularity: perTensor, scaleStorage: { ...scheme.scaleStorage, unsigned: true } };
      return fitScales(tensor('f32', [values.length], values), positive, search, counts);
    },
  };
}

/**
 * Moving averages of the range of each batch ({@link movingAverageRange}): outliers of single batches have little
 * effect.
 */
export function staticMovingAverage(options: { readonly momentum?: number } = {}): ActivationFit {
  const statistic = movingAverageRange(options.momentum);
  return {
    name: 'staticMovingAverage',
    options: { momentum: options.momentum ?? 0.01 },
    needs: [statistic],
    fit(statistics, scheme) {
      const { average, batches } = statistics.get(statistic);
      if (batches === 0) throw new CalibrationError('staticMovingAverage: no values were seen');
      return gridOf('staticMovingAverage', average[0], average[1], scheme);
    },
  };
}
