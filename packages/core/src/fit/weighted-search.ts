import { SchemeError } from '../contracts/errors.js';
import type { OptionValues } from '../contracts/option.js';
import type { FitTask, ScaleFit } from '../contracts/scale-fit.js';
import type { Scheme } from '../contracts/scheme.js';
import { levelTable } from '../formats/level-table.js';
import { checkOptions } from '../options/check-options.js';
import { integer, number } from '../options/option.js';
import { fitAbsMax } from './abs-max.js';
import { searchAffine } from './affine-search.js';
import { searchExponent } from './exponent-search.js';
import { createScaleSearch, signedPeak } from './scale-search.js';

export const weightedSearchOptions = {
  /** Candidates for the scale near that of the largest magnitude. Default 200. */
  points: integer({ min: 2, default: 200, help: 'Candidates for the scale of each group.' }),
  /** The first candidate, as a share of the scale of the largest magnitude. Default 0.5. */
  low: number({
    above: 0,
    default: 0.5,
    help: 'The first candidate, as a share of the scale of the largest magnitude.',
  }),
  /** The last candidate, as a share of it. Default 1.1. */
  high: number({
    above: 0,
    default: 1.1,
    help: 'The last candidate, as a share of the scale of the largest magnitude.',
  }),
};

export type WeightedSearchOptions = OptionValues<typeof weightedSearchOptions>;

/**
 * Data-free scale search (opt-RTN; docs/reference/papers.md#grids) by least weighted squared error. The weights are the
 * importance of the columns if known (mean square of the inputs), else equal. `createScaleSweep` gives every
 * candidate's codes the scale that fits them best.
 *
 * - Symmetric integers use the full range: the value of largest magnitude gets the lowest code, or the highest if that
 *   is better. So the scale may be negative (docs/reference/papers.md#grids), unless the storage has no sign.
 * - Asymmetric integers: the same for one zero point after the other, from the range's own one in the direction of less
 *   error.
 * - Real zero points: least-squares lines through the codes of shrunken ranges.
 * - Other formats of up to 8 bits: as symmetric integers, with a positive scale. Above 8 bits the range is taken.
 * - Scales that are powers of two: the exponents near the range's own one.
 */
export function weightedSearch(options: WeightedSearchOptions = {}): ScaleFit {
  const { points, low, high } = checkOptions('weightedSearch', weightedSearchOptions, options);
  if (high <= low) throw new SchemeError(`weightedSearch: low must be smaller than high, got low ${low}, high ${high}`);
  const search = createScaleSearch({ points, low, high });

  function fitSymmetric(x: Float32Array, scheme: Scheme, importance: Float32Array | undefined): number {
    const { format, scaleStorage } = scheme;
    const peak = signedPeak(x);
    if (peak === 0) return 0;
    const twoSided = format.family === 'linear' && format.min < 0;
    const starts = twoSided ? [peak / format.min, peak / format.max] : [Math.abs(peak) / outermost(scheme)];
    const usable = scaleStorage.unsigned ? starts.filter((start) => start > 0) : starts;
    return toF32(search.around(x, usable, levelTable(format), importance).scale, outermost(scheme));
  }

  /** The grid of the values of one row or group, the `row`-th of all. */
  function fitRow(own: Float32Array, { scheme, scale, zero }: FitTask, row: number, importance?: Float32Array): void {
    const { format, zeroPoint, scaleStorage } = scheme;
    if (zeroPoint === 'integer') {
      const [found, at] = search.withZeroPoint(own, levelTable(format), importance);
      scale[row] = toF32(found, outermost(scheme, at));
      zero[row] = at;
    } else if (zeroPoint === 'float') [scale[row], zero[row]] = searchAffine(own, format, importance);
    else {
      zero[row] = 0;
      scale[row] = scaleStorage.powersOfTwo
        ? searchExponent(own, format, importance)
        : fitSymmetric(own, scheme, importance);
    }
  }

  return {
    name: 'weightedSearch',
    options: { points, low, high },
    fitGroups({ scheme, importance, scale, zero, ...of }, grids) {
      const { format, zeroPoint, scaleStorage } = scheme;
      const { family, bits, min, max } = format;
      if (family !== 'linear' || bits > 8 || zeroPoint === 'float' || scaleStorage.powersOfTwo) return false;
      if (zeroPoint === 'none' && min < 0 && scaleStorage.unsigned) return false;
      const aims = zeroPoint === 'integer' ? 'zeroPoint' : min < 0 ? 'ends' : 'magnitude';
      const { thresholds } = levelTable(format);
      const scales = new Float64Array(scale.length);
      grids.sweep({ ...of, importance, min, max, thresholds, points, low, high, aims, scales, zeros: zero });
      const groups = Math.ceil(of.columns / of.groupSize);
      for (let i = 0; i < scales.length; i++) {
        if (Number.isNaN(scales[i])) {
          const left = (i % groups) * of.groupSize;
          const width = Math.min(of.groupSize, of.columns - left);
          const start = Math.floor(i / groups) * of.columns + left;
          const weights = importance?.subarray(left, left + width);
          fitRow(of.values.subarray(start, start + width), { scheme, scale, zero }, i, weights);
          continue;
        }
        scale[i] = toF32(scales[i], outermost(scheme, zero[i]));
      }
      return true;
    },
    fit(panel) {
      const { values, rows, columns, importance } = panel;
      if (panel.scheme.format.bits > 8) {
        fitAbsMax(panel, 'narrow');
        panel.zero.fill(0, 0, rows);
        return;
      }
      for (let row = 0; row < rows; row++)
        fitRow(values.subarray(row * columns, (row + 1) * columns), panel, row, importance);
    },
  };
}

/** The largest distance of a level from the zero point. */
function outermost({ format }: Scheme, zero = 0): number {
  return Math.max(zero - format.min, format.max - zero);
}

const largestF32 = (2 - 2 ** -23) * 2 ** 127;

/**
 * 0 stays 0. A nonzero scale must not become zero in f32, and the product of any level with the scale must not be
 * infinite.
 */
function toF32(scale: number, outermostLevel: number): number {
  const limit = largestF32 / outermostLevel;
  const held = Math.abs(scale) * (1 + 2 ** -23) > limit ? Math.sign(scale) * limit * (1 - 2 ** -23) : scale;
  return Math.fround(held) || Math.sign(scale) * 2 ** -149;
}
