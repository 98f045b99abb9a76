import { SchemeError } from '../contracts/errors.js';
import type { OptionValues } from '../contracts/option.js';
import type { Scheme } from '../contracts/scheme.js';
import { roundHalfEven } from '../dtypes/round.js';
import { levelTable } from '../formats/level-table.js';
import { checkOptions } from '../options/check-options.js';
import { integer, number } from '../options/option.js';
import { fitAbsMax } from './abs-max.js';
import { searchAffine } from './affine-search.js';
import { searchExponent } from './exponent-search.js';
import type { ScaleFit } from './scale-fit.js';
import { createScaleSweep, type SweepLevels, type SweepResult } from './scale-sweep.js';

export const weightedSearchOptions = {
  /** Candidates for the scale around the one of the largest magnitude. Default 200. */
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
 * Data-free scale search (opt-RTN; docs/reference/papers.md#grids) by least weighted squared error. Weights: the importance of the
 * columns where it is known (mean square of the inputs), else even. {@link createScaleSweep} gives every candidate's codes the
 * scale that fits them best.
 *
 * - Symmetric integers use the full range: the value of largest magnitude aims at the lowest code, or at the highest where
 *   that is better, so the scale may be negative (docs/reference/papers.md#grids); not where the storage has no sign.
 * - Asymmetric integers: the same for one zero point after the other, from the range's own one in the direction of less error.
 * - Real zero points: least-squares lines through the codes of shrunken ranges.
 * - Other formats of up to 8 bits: as symmetric integers, with a positive scale. Beyond 8 bits the range is taken.
 * - Scales that are powers of two: the exponents around the range's own one.
 */
export function weightedSearch(options: WeightedSearchOptions = {}): ScaleFit {
  const { points, low, high } = checkOptions('weightedSearch', weightedSearchOptions, options);
  if (high <= low) throw new SchemeError(`weightedSearch: low must be smaller than high, got low ${low}, high ${high}`);
  const sweep = createScaleSweep({ points, low, high });
  const [found, best]: [SweepResult, SweepResult] = [
    { scale: 0, gain: 0 },
    { scale: 0, gain: 0 },
  ];

  /** The better one of several starts; the first one when none takes anything off the error. */
  function searchScale(
    x: Float32Array,
    starts: readonly number[],
    grid: SweepLevels,
    importance: Float32Array | undefined,
  ): SweepResult {
    best.gain = 0;
    best.scale = 0;
    for (const start of starts) {
      sweep(x, start, grid, importance, found);
      if (found.gain > best.gain) Object.assign(best, found);
    }
    if (best.scale === 0) best.scale = starts[0];
    return best;
  }

  function fitSymmetric(x: Float32Array, scheme: Scheme, importance: Float32Array | undefined): number {
    const { format, scaleStorage } = scheme;
    const peak = signedPeak(x);
    if (peak === 0) return 0;
    const twoSided = format.family === 'linear' && format.min < 0;
    const starts = twoSided ? [peak / format.min, peak / format.max] : [Math.abs(peak) / outermost(scheme)];
    const usable = scaleStorage.unsigned ? starts.filter((start) => start > 0) : starts;
    return toF32(searchScale(x, usable, levelTable(format), importance).scale, outermost(scheme));
  }

  function fitInteger(x: Float32Array, { format }: Scheme, importance: Float32Array | undefined): [number, number] {
    const { min, max, bits } = format;
    const [bottom, top] = rangeWithZero(x);
    if (bottom === top) return [0, min];
    const { levels, thresholds } = levelTable(format);
    const at = (zero: number) => {
      const shifted = { levels: levels.map((v) => v - zero), thresholds: thresholds.map((v) => v - zero) };
      // The smallest scale that holds both ends.
      const start = Math.max(zero < max ? top / (max - zero) : 0, zero > min ? bottom / (min - zero) : 0);
      return { zero, ...searchScale(x, [start], shifted, importance) };
    };
    const step = Math.max(1, 2 ** (bits - 4));
    const clamp = (zero: number) => Math.min(max, Math.max(min, zero));
    let chosen = at(clamp(roundHalfEven(min - (bottom * (max - min)) / (top - bottom))));
    for (const direction of [-step, step]) {
      const from = chosen.zero;
      while (clamp(chosen.zero + direction) !== chosen.zero) {
        const next = at(clamp(chosen.zero + direction));
        if (next.gain <= chosen.gain) break;
        chosen = next;
      }
      if (chosen.zero !== from) break;
    }
    return [toF32(chosen.scale, Math.max(chosen.zero - min, max - chosen.zero)), chosen.zero];
  }

  function fitRow(
    own: Float32Array,
    scheme: Scheme,
    importance: Float32Array | undefined,
    row: number,
    scale: Float32Array,
    zero: Float32Array,
  ): void {
    const { format, zeroPoint, scaleStorage } = scheme;
    if (zeroPoint === 'integer') [scale[row], zero[row]] = fitInteger(own, scheme, importance);
    else if (zeroPoint === 'float') [scale[row], zero[row]] = searchAffine(own, format, importance);
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
    fitGroups(of, scheme, importance, scale, zero, grids) {
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
          fitRow(of.values.subarray(start, start + width), scheme, weights, i, scale, zero);
          continue;
        }
        const reach = zeroPoint === 'integer' ? Math.max(zero[i] - min, max - zero[i]) : outermost(scheme);
        scale[i] = scales[i] === 0 ? 0 : toF32(scales[i], reach);
      }
      return true;
    },
    fit(values, rows, columns, scheme, importance, scale, zero) {
      if (scheme.format.bits > 8) {
        fitAbsMax(values, rows, columns, scheme, 'narrow', scale);
        zero.fill(0, 0, rows);
        return;
      }
      for (let row = 0; row < rows; row++)
        fitRow(values.subarray(row * columns, (row + 1) * columns), scheme, importance, row, scale, zero);
    },
  };
}

/** The value of largest magnitude, with its sign. */
function signedPeak(x: Float32Array): number {
  let peak = 0;
  for (let j = 0; j < x.length; j++) if (Math.abs(x[j]) > Math.abs(peak)) peak = x[j];
  return peak;
}

function outermost({ format }: Scheme): number {
  return Math.max(Math.abs(format.min), Math.abs(format.max));
}

function rangeWithZero(x: Float32Array): [bottom: number, top: number] {
  let [bottom, top] = [0, 0];
  for (let j = 0; j < x.length; j++) {
    if (x[j] < bottom) bottom = x[j];
    else if (x[j] > top) top = x[j];
  }
  return [bottom, top];
}

const largestF32 = (2 - 2 ** -23) * 2 ** 127;

/** In f32 a scale that is not zero must not become zero, and no level times the scale infinite. */
function toF32(scale: number, outermostLevel: number): number {
  const limit = largestF32 / outermostLevel;
  const held = Math.abs(scale) * (1 + 2 ** -23) > limit ? Math.sign(scale) * limit * (1 - 2 ** -23) : scale;
  return Math.fround(held) || Math.sign(scale) * 2 ** -149;
}
