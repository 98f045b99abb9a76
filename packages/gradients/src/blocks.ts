import { e5m2, int8, type NumberFormat } from '@q/core';
import { eachBucket, expectInteger, largestOf } from './buckets.js';
import { floats } from './floats.js';
import type { GradientCodec } from './gradient-compressor.js';
import { readPayload, writePayload } from './payload.js';

export interface BlocksOptions {
  /** Elements that share a scale. Default 256. */
  readonly block?: number;
}

/**
 * int8 codes with one f32 scale a block and stochastic rounding. Unbiased; the error of an element is below one step.
 */
export const int8Blocks = (options: BlocksOptions = {}): GradientCodec => blocks('int8', int8, 127, options);

/** FP8 (E5M2) codes with one f32 scale a block and stochastic rounding between neighbouring values. Unbiased. */
export const fp8Blocks = (options: BlocksOptions = {}): GradientCodec => blocks('fp8', e5m2, e5m2.max, options);

/** @param top the value for a block's largest magnitude */
function blocks(name: string, format: NumberFormat, top: number, { block = 256 }: BlocksOptions): GradientCodec {
  expectInteger(`${name}: block`, block, 1, 2 ** 24);
  const { values, codes } = sortedLevels(format, top);
  const decoded = Float64Array.from({ length: 2 ** format.bits }, (_, code) => format.decode(code));
  return {
    name,
    options: { block },
    unbiased: true,
    compress(gradient, random) {
      const scales = new Float32Array(Math.ceil(gradient.length / block));
      const chosen = new Uint8Array(gradient.length);
      eachBucket(gradient.length, block, (index, start, end) => {
        // A subnormal quotient would lose the scale's bits; such a block is far smaller than every other gradient.
        const scale = largestOf(gradient, start, end) / top;
        scales[index] = scale < 2 ** -120 ? 0 : scale;
        for (let i = start; i < end; i++) {
          const exact = scales[index] === 0 ? 0 : gradient[i] / scales[index];
          const below = placeOf(values, exact);
          const above = Math.min(below + 1, values.length - 1);
          const gap = values[above] - values[below];
          chosen[i] = codes[gap > 0 && random.uniform() < (exact - values[below]) / gap ? above : below];
        }
      });
      return writePayload(scales, chosen, 8);
    },
    decompress(payload, length) {
      const { scales, codes: received } = readPayload(payload, Math.ceil(length / block), length, 8);
      return floats(length, (i) => decoded[received[i]] * scales[Math.floor(i / block)]);
    },
  };
}

/** The format's finite values up to `top`, rising, and their codes. */
function sortedLevels(format: NumberFormat, top: number): { values: Float64Array; codes: Uint8Array } {
  const levels = new Map<number, number>();
  for (let code = 0; code < 2 ** format.bits; code++) {
    const value = format.decode(code);
    if (Number.isFinite(value) && Math.abs(value) <= top && !levels.has(value + 0)) levels.set(value + 0, code);
  }
  const sorted = [...levels].sort(([a], [b]) => a - b);
  return { values: Float64Array.from(sorted, ([value]) => value), codes: Uint8Array.from(sorted, ([, code]) => code) };
}

/** The index of the last value that is not above `x`; 0 if all are. */
function placeOf(values: Float64Array, x: number): number {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (values[middle] <= x) low = middle;
    else high = middle - 1;
  }
  return low;
}
