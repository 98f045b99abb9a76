import type { Scheme } from '../contracts/scheme.js';
import { roundHalfEven } from '../dtypes/round.js';
import { levelEncoder } from '../formats/level-encoder.js';
import { minMax } from './min-max.js';
import type { ScaleFit } from './scale-fit.js';

export interface MseSearchOptions {
  /** Shrink factors tried: `1 - i/steps`, up to `maxShrink`. Default 100, as in GPTQ. */
  readonly steps?: number;
  /** Largest part of the range that is cut off. Default 0.8. */
  readonly maxShrink?: number;
  /** Exponent of the error. Default 2.4, as in GPTQ. */
  readonly norm?: number;
}

/** Range shrunk by the factor that has the least error (GPTQ's `mse` option; papers.md 2.1). Importance weights the errors. */
export function mseSearch(options: MseSearchOptions = {}): ScaleFit {
  const { steps = 100, maxShrink = 0.8, norm = 2.4 } = options;
  const range = minMax();
  return {
    name: 'mseSearch',
    options: { steps, maxShrink, norm },
    fit(values, rows, columns, scheme, importance, scale, zero) {
      range.fit(values, rows, columns, scheme, importance, scale, zero);
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * columns, (row + 1) * columns);
        const [fullScale, fullZero] = [scale[row], zero[row]];
        if (fullScale === 0) continue;
        let best = Number.POSITIVE_INFINITY;
        for (let i = 0; i < steps * maxShrink; i++) {
          const factor = 1 - i / steps;
          const step = Math.fround(fullScale * factor);
          // The zero point stays: both ends of the range shrink towards 0 by the same factor.
          const error = roundingError(own, step, fullZero, scheme, norm, importance, best);
          if (error < best) {
            best = error;
            scale[row] = step;
          }
        }
      }
    },
  };
}

/** Sum of weighted `|x - q(x)|^norm`; stops early once it is above `limit`. */
function roundingError(
  values: Float32Array,
  scale: number,
  zero: number,
  { format }: Scheme,
  norm: number,
  importance: Float32Array | undefined,
  limit: number,
): number {
  let sum = 0;
  if (format.family !== 'linear') {
    const codes = format.bits <= 8 ? new Uint8Array(values.length) : new Uint16Array(values.length);
    levelEncoder(format)(values, codes, 0, values.length, scale);
    for (let j = 0; j < values.length; j++) {
      sum += (importance ? importance[j] : 1) * Math.abs(values[j] - format.decode(codes[j]) * scale) ** norm;
    }
    return sum;
  }
  const { min, max } = format;
  for (let j = 0; j < values.length; j++) {
    const x = values[j] / scale + zero;
    const q = x < min ? min : x > max ? max : roundHalfEven(x);
    const error = Math.abs(values[j] - (q - zero) * scale);
    sum += (importance ? importance[j] : 1) * (norm === 2 ? error * error : error ** norm);
    if (sum > limit) return sum;
  }
  return sum;
}
