import { CalibrationError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';
import { tensor } from '../tensor.js';
import { checkWidth } from './hessian.js';

/** Bins of an octave: values in a bin differ by less than 1.6 %. */
const binsPerOctave = 64;
const octaves = 64;
/** Magnitudes below 2^-32 count as zero, above 2^32 as 2^32. */
const lowestExponent = -32;
const binsPerSign = binsPerOctave * octaves;

/** Counts of magnitudes, by sign, over all features of a linear's input. */
export interface HistogramState {
  readonly width: number;
  /** Bins of the negative values, then of the others; each by ascending magnitude `[2 * 4096]`. */
  readonly counts: Float64Array;
  low: number;
  high: number;
  /** Tokens seen. */
  count: number;
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** Bin of a magnitude, from the exponent and the upper six bits of the mantissa of the f32. */
function binOf(magnitude: number): number {
  single[0] = magnitude;
  const bin = (singleBits[0] >>> 17) - (127 + lowestExponent) * binsPerOctave;
  return bin < 0 ? 0 : bin >= binsPerSign ? binsPerSign - 1 : bin;
}

/** Smallest magnitude of bin k; bin 0 also contains zero. */
function binStart(k: number): number {
  return k === 0
    ? 0
    : 2 ** (lowestExponent + Math.floor(k / binsPerOctave)) * (1 + (k % binsPerOctave) / binsPerOctave);
}

/**
 * Histogram with bins of equal relative width. It needs no range beforehand, merges exactly, and has the same relative
 * precision for small values and outliers. NaN makes the range NaN, which fits refuse.
 */
export const histogram: Statistic<HistogramState> = {
  name: 'histogram',
  create: (width) => ({
    width,
    counts: new Float64Array(2 * binsPerSign),
    low: Number.POSITIVE_INFINITY,
    high: Number.NEGATIVE_INFINITY,
    count: 0,
  }),
  async update(state, { x, tokens, width }) {
    checkWidth('histogram', state.width, width);
    const { counts } = state;
    let { low, high } = state;
    for (let i = 0; i < x.length; i++) {
      const value = x[i];
      low = Math.min(low, value);
      high = Math.max(high, value);
      counts[(value < 0 ? 0 : binsPerSign) + binOf(Math.abs(value))]++;
    }
    Object.assign(state, { low, high, count: state.count + tokens });
  },
  merge(state, other) {
    checkWidth('histogram', state.width, other.width);
    for (let i = 0; i < state.counts.length; i++) state.counts[i] += other.counts[i];
    state.low = Math.min(state.low, other.low);
    state.high = Math.max(state.high, other.high);
    state.count += other.count;
  },
  count: (state) => state.count,
  serialize: ({ width, counts, low, high, count }) => ({
    counts: tensor('f64', [2, binsPerSign], counts),
    range: tensor('f64', [4], Float64Array.of(low, high, count, width)),
  }),
  deserialize({ counts, range }) {
    const [low, high, count, width] = range.data as Float64Array;
    return { width, counts: counts.data as Float64Array, low, high, count };
  },
  bytes: () => 8 * (2 * binsPerSign + 4),
};

/** Middles of the bins that are not empty, in ascending order of value, and their counts. */
export function histogramValues(state: HistogramState): { values: Float32Array; counts: Float32Array } {
  const values: number[] = [];
  const counts: number[] = [];
  const add = (at: number, k: number, sign: number) => {
    if (state.counts[at] === 0) return;
    // The ends are known exactly, and bin 0 contains almost only zeros.
    const middle = k === 0 ? 0 : (sign * (binStart(k) + binStart(k + 1))) / 2;
    values.push(Math.min(state.high, Math.max(state.low, middle)));
    counts.push(state.counts[at]);
  };
  for (let k = binsPerSign - 1; k >= 0; k--) add(k, k, -1);
  for (let k = 0; k < binsPerSign; k++) add(binsPerSign + k, k, 1);
  return { values: Float32Array.from(values), counts: Float32Array.from(counts) };
}

/**
 * The value below which the share p of all values lies, to the width of a bin (1.6 %), and inside the exact range.
 * @throws CalibrationError when no value was seen
 */
export function histogramQuantile(state: HistogramState, p: number): number {
  const total = state.counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) throw new CalibrationError('the histogram has seen no values');
  let rest = p * total;
  const clamp = (x: number) => Math.min(state.high, Math.max(state.low, x));
  for (let k = binsPerSign - 1; k >= 0; k--) {
    const inside = state.counts[k];
    if (rest <= inside && inside > 0)
      return clamp(-(binStart(k + 1) - (rest / inside) * (binStart(k + 1) - binStart(k))));
    rest -= inside;
  }
  for (let k = 0; k < binsPerSign; k++) {
    const inside = state.counts[binsPerSign + k];
    if (rest <= inside && inside > 0) return clamp(binStart(k) + (rest / inside) * (binStart(k + 1) - binStart(k)));
    rest -= inside;
  }
  return state.high;
}
