import type { NumberFormat } from '../contracts/number-format.js';

type Encoder = (data: Float32Array, codes: Uint8Array | Uint16Array, start: number, end: number, scale: number) => void;

const encoders = new WeakMap<NumberFormat, Encoder>();

/**
 * A loop that gives `format.encode(data[i] / scale)` without a call per element: the sorted levels of the format, the
 * thresholds between them and what happens on each, all asked from `format.encode` once. Formats above 8 bits are called.
 */
export function levelEncoder(format: NumberFormat): Encoder {
  const known = encoders.get(format);
  if (known) return known;
  const encoder = format.bits > 8 ? callingEncoder(format) : searchingEncoder(format);
  encoders.set(format, encoder);
  return encoder;
}

function callingEncoder(format: NumberFormat): Encoder {
  return (data, codes, start, end, scale) => {
    for (let i = start; i < end; i++) codes[i] = format.encode(data[i] / scale);
  };
}

function searchingEncoder(format: NumberFormat): Encoder {
  const levels: number[] = [];
  for (let code = 0; code < 2 ** format.bits; code++) {
    const level = format.decode(code) + 0;
    if (Number.isFinite(level) && format.decode(format.encode(level)) + 0 === level) levels.push(level);
  }
  const sorted = Float64Array.from(new Set(levels)).sort();
  const codeOf = Uint8Array.from(sorted, (level) => format.encode(level));
  // The threshold itself belongs to the upper level or to the lower one: nudge it so that `>` decides.
  const thresholds = Float64Array.from({ length: sorted.length - 1 }, (_, k) => {
    const middle = (sorted[k] + sorted[k + 1]) / 2;
    return format.decode(format.encode(middle)) + 0 === sorted[k + 1] ? below(middle) : middle;
  });
  const negativeZero = format.min < 0 && format.family === 'float' ? format.encode(-0) : codeOf[sorted.indexOf(0)];
  const zeroIndex = sorted.indexOf(0);
  return (data, codes, start, end, scale) => {
    for (let i = start; i < end; i++) {
      const x = data[i] / scale;
      let low = 0;
      let high = thresholds.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (x > thresholds[middle]) low = middle + 1;
        else high = middle;
      }
      codes[i] = low === zeroIndex && (x < 0 || Object.is(x, -0)) ? negativeZero : codeOf[low];
    }
  };
}

const scratch = new Float64Array(1);
const scratchBits = new BigInt64Array(scratch.buffer);

/** The largest f64 below x. */
function below(x: number): number {
  if (x === 0) return -Number.MIN_VALUE;
  scratch[0] = x;
  scratchBits[0] += x > 0 ? -1n : 1n;
  return scratch[0];
}
