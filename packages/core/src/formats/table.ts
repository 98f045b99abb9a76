import { NumericError, SchemeError } from '../contracts/errors.js';
import type { NumberFormat } from '../contracts/number-format.js';
import { roundHalfEven } from '../dtypes/round.js';
import { leastSquaresSupport } from '../fit/least-squares-support.js';
import { meanAbsFit } from '../fit/mean-abs.js';
import { inverseNormal } from './inverse-normal.js';

export interface TableFormat extends NumberFormat {
  readonly family: 'table';
  /** Value of each code, as f32. */
  readonly levels: Float32Array;
}

/**
 * A format from a list of levels, code by code, in any order. A value between two levels goes to the nearer one. On the
 * middle it stays with the lower one, as in bitsandbytes (strictly above the threshold moves up).
 */
export function tableFormat(name: string, levels: readonly number[]): TableFormat {
  const bits = Math.ceil(Math.log2(levels.length));
  const table = Float32Array.from(levels);
  const sorted = [...table.keys()]
    .sort((a, b) => table[a] - table[b])
    .filter((code, i, all) => i === 0 || table[code] !== table[all[i - 1]]);
  const values = Float64Array.from(sorted, (code) => table[code]);
  return {
    name,
    bits,
    family: 'table',
    min: values[0],
    max: values[values.length - 1],
    levels: table,
    encode(x) {
      if (Number.isNaN(x)) throw new NumericError(`${name} has no code for NaN: check the weights before quantizing`);
      let low = 0;
      let high = values.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (x > (values[middle] + values[middle + 1]) / 2) low = middle + 1;
        else high = middle;
      }
      return sorted[low];
    },
    decode: (code) => table[code],
    toJSON: () => name,
  };
}

/**
 * The 16 levels of NF4 from their generator (QLoRA; docs/reference/papers.md#qlora): quantiles of the normal
 * distribution at evenly spaced probabilities, 8 above and 7 below an exact zero, divided by the largest.
 */
export function normalFloatLevels(): number[] {
  const offset = 1 - (1 / 32 + 1 / 30) / 2;
  const quantiles = (points: number) =>
    Array.from({ length: points - 1 }, (_, i) => inverseNormal(offset + ((0.5 - offset) * i) / (points - 1)));
  const positive = quantiles(9);
  const negative = quantiles(8).map((x) => -x);
  const all = [...negative, 0, ...positive].sort((a, b) => a - b);
  const largest = all[all.length - 1];
  return all.map((level) => Math.fround(level / largest));
}

/**
 * The published f32 levels. The generator gives them to 1e-6; kernels contain exactly these floats, so we use them
 * (docs/reference/file-formats.md#nf4-and-fp4-of-bitsandbytes).
 */
const nf4Levels = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
];

/** 4-bit normal float of QLoRA; values in [-1, 1], so the scale is the largest magnitude. */
export const nf4 = tableFormat('nf4', nf4Levels);

const fp4Magnitudes = [0, 0.0625, 8, 12, 4, 6, 2, 3].map((x) => x / 12);
/**
 * bitsandbytes' own 4-bit float, which is not E2M1: bit 3 is the sign, and the magnitudes are in a table of their own
 * order.
 */
export const bnbFp4 = tableFormat('bnb-fp4', [...fp4Magnitudes, ...fp4Magnitudes.map((x) => -x)]);

/** Signed powers of two `±2^0 .. ±2^-(2^(bits-1)-2)` and zero: products become shifts. */
export function powerOfTwo(bits: number): TableFormat {
  if (!Number.isInteger(bits) || bits < 2 || bits > 8)
    throw new SchemeError(`powerOfTwo takes 2 to 8 bits, got ${bits}`);
  const count = 2 ** (bits - 1) - 1;
  const positive = Array.from({ length: count }, (_, i) => 2 ** (i - count + 1));
  return tableFormat(`pow2-${bits}`, [...positive.map((x) => -x).reverse(), 0, ...positive]);
}

/** Both signs, no zero (XNOR-Net): sign(0) is +1. */
export const binary: TableFormat = {
  ...tableFormat('binary', [-1, 1]),
  fit: meanAbsFit(),
  encode(x) {
    if (Number.isNaN(x)) throw new NumericError('binary has no code for NaN: check the weights before quantizing');
    return x < 0 ? 0 : 1;
  },
};
/** {0, 1}; values below zero are 0. */
export const binary01: TableFormat = { ...tableFormat('binary01', [0, 1]), fit: leastSquaresSupport() };
/** {-1, 0, 1} in two bits, rounded half to even (BitNet b1.58, TWN); code 3 is not used. */
export const ternary: TableFormat = {
  ...tableFormat('ternary', [-1, 0, 1]),
  bits: 2,
  fit: meanAbsFit(),
  encode(x) {
    if (Number.isNaN(x)) throw new NumericError('ternary has no code for NaN: check the weights before quantizing');
    return Math.max(-1, Math.min(1, roundHalfEven(x))) + 1;
  },
};
