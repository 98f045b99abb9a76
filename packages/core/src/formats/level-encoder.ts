import type { NumberFormat } from '../contracts/number-format.js';
import { type LevelTable, levelTable } from './level-table.js';

/** Writes the codes of `data[start..end) / scale` to the same indices of `codes`. */
export type LevelEncoder = (
  data: Float32Array,
  codes: Uint8Array | Uint16Array,
  start: number,
  end: number,
  scale: number,
) => void;

const encoders = new WeakMap<NumberFormat, LevelEncoder>();

/**
 * A loop that gives `format.encode(data[i] / scale)` without a call per element. For formats above 8 bits it calls
 * `encode`. For others it looks up a start in the list of thresholds by sign, exponent and four bits of mantissa, and
 * then takes the remaining one or two steps.
 */
export function levelEncoder(format: NumberFormat): LevelEncoder {
  const known = encoders.get(format);
  if (known) return known;
  const encoder = format.bits > 8 ? callingEncoder(format) : tableEncoder(levelTable(format));
  encoders.set(format, encoder);
  return encoder;
}

function callingEncoder(format: NumberFormat): LevelEncoder {
  return (data, codes, start, end, scale) => {
    for (let i = start; i < end; i++) codes[i] = format.encode(data[i] / scale);
  };
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);
/** Bits of an f32 that do not select the bucket: all except sign, exponent and four bits of mantissa. */
const bucketShift = 19;

/** The encoder of a table of at most 256 levels. */
export function tableEncoder({
  thresholds,
  codes: codeOf,
  zeroIndex,
  negativeZero,
}: Omit<LevelTable, 'levels'>): LevelEncoder {
  const first = firstThresholds(thresholds);
  return (data, codes, start, end, scale) => {
    for (let i = start; i < end; i++) {
      const x = data[i] / scale;
      single[0] = x;
      let k = first[singleBits[0] >>> bucketShift];
      while (k < thresholds.length && x > thresholds[k]) k++;
      codes[i] = k === zeroIndex && (x < 0 || Object.is(x, -0)) ? negativeZero : codeOf[k];
    }
  };
}

const firsts = new WeakMap<Float64Array, Uint8Array>();

/**
 * For each bucket of f32 patterns the number of thresholds below every value in it, also below values that are in the
 * bucket only after rounding to f32.
 */
function firstThresholds(thresholds: Float64Array): Uint8Array {
  const known = firsts.get(thresholds);
  if (known) return known;
  const buckets = 2 ** (32 - bucketShift);
  const first = new Uint8Array(buckets);
  for (let bucket = 0; bucket < buckets; bucket++) {
    const negative = bucket >= buckets / 2;
    // The lowest end of the bucket: for negative values the one of largest magnitude, one ulp further.
    singleBits[0] = negative ? ((bucket + 1) << bucketShift) >>> 0 : (bucket << bucketShift) >>> 0;
    let lowest = single[0] - Math.abs(single[0]) * 2 ** -23 - 2 ** -149;
    if (negative && (bucket + 1) % (buckets / 2) === 0) lowest = Number.NEGATIVE_INFINITY;
    if (Number.isNaN(lowest)) lowest = negative ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
    // Infinity minus an ulp is not NaN but is not the lowest value either: a value that overflows f32 comes after the
    // largest finite f32.
    if (!negative && lowest === Number.POSITIVE_INFINITY) lowest = 3.4e38;
    let count = 0;
    while (count < thresholds.length && thresholds[count] < lowest) count++;
    first[bucket] = count;
  }
  firsts.set(thresholds, first);
  return first;
}
