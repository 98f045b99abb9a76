import { SchemeError } from '@q/core';
import { floats } from './floats.js';
import type { GradientCodec } from './gradient-compressor.js';
import { readPayload, writePayload } from './payload.js';

export interface TernGradOptions {
  /**
   * Gradients beyond this many root mean squares of the tensor are clipped first, which is biased; 0: no clipping.
   * Default 2.5.
   */
  readonly clip?: number;
}

/**
 * TernGrad (Wen et al., arXiv 1705.07878): `s sign(g) b` with `s` the largest magnitude of the tensor and `b` a random
 * bit that is 1 with probability `|g| / s`. Unbiased for the clipped gradient; `E|Q(g) - g|^2 = sum |g| (s - |g|)`. 2
 * bits an element.
 * @throws SchemeError when `clip` is negative or not finite
 */
export function ternGrad({ clip = 2.5 }: TernGradOptions = {}): GradientCodec {
  if (!(clip >= 0 && Number.isFinite(clip)))
    throw new SchemeError(`ternGrad: clip is ${clip}: expected a multiple of the root mean square, or 0 for none`);
  return {
    name: 'terngrad',
    options: { clip },
    unbiased: clip === 0,
    compress(gradient, random) {
      const limit = clip === 0 ? Number.POSITIVE_INFINITY : clip * rootMeanSquare(gradient);
      let largest = 0;
      for (const value of gradient) largest = Math.max(largest, Math.min(limit, Math.abs(value)));
      const scale = Math.fround(largest);
      const codes = new Uint8Array(gradient.length);
      for (let i = 0; i < codes.length; i++) {
        const heads = scale > 0 && random.uniform() < Math.min(limit, Math.abs(gradient[i])) / scale;
        codes[i] = heads ? (gradient[i] < 0 ? 0 : 2) : 1;
      }
      return writePayload(Float32Array.of(scale), codes, 2);
    },
    decompress(payload, length) {
      const { scales, codes } = readPayload(payload, 1, length, 2);
      return floats(length, (i) => scales[0] * (codes[i] - 1));
    },
  };
}

/** Relative to 0 and not to the mean: the deviation of equal gradients is 0, and clipping would remove them. */
function rootMeanSquare(values: Float32Array): number {
  let squares = 0;
  for (const value of values) squares += value * value;
  return Math.sqrt(squares / values.length);
}
