import { SchemeError } from '@q/core';
import { eachBucket, expectInteger, largestOf } from './buckets.js';
import { floats } from './floats.js';
import type { GradientCodec } from './gradient-compressor.js';
import { readPayload, writePayload } from './payload.js';

export interface QsgdOptions {
  /** Steps `s` from 0 to the norm, 1 to 127. A code takes `ceil(log2(2 s + 1))` bits. Default 7: 4 bits. */
  readonly levels?: number;
  /** Elements that share a norm. Default 512. */
  readonly bucket?: number;
  /** `max`: the largest magnitude, which is more accurate. `l2`: as in the paper's theorem. Default max. */
  readonly norm?: 'max' | 'l2';
}

/**
 * QSGD (Alistarh et al., arXiv 1610.02132): `norm * sign(g) * xi`, where `xi` is `s |g| / norm` rounded at random to
 * one of its two neighbours, over s. Unbiased. With the l2 norm, `E|Q(g) - g|^2 <= min(n / s^2, sqrt(n) / s) |g|^2` for
 * a bucket of n. Codes have a fixed width: with the largest magnitude as the norm few of them are 0, and Elias codes
 * would not be shorter.
 * @throws SchemeError for options out of range
 */
export function qsgd({ levels = 7, bucket = 512, norm = 'max' }: QsgdOptions = {}): GradientCodec {
  expectInteger('qsgd: levels', levels, 1, 127);
  expectInteger('qsgd: bucket', bucket, 1, 2 ** 24);
  if (norm !== 'max' && norm !== 'l2') throw new SchemeError(`qsgd: norm is "${norm}": expected max or l2`);
  const bits = Math.ceil(Math.log2(2 * levels + 1));
  return {
    name: 'qsgd',
    options: { levels, bucket, norm },
    unbiased: true,
    compress(gradient, random) {
      const norms = new Float32Array(Math.ceil(gradient.length / bucket));
      const codes = new Uint8Array(gradient.length);
      eachBucket(gradient.length, bucket, (index, start, end) => {
        const size = norm === 'max' ? largestOf(gradient, start, end) : upward(l2(gradient, start, end));
        norms[index] = size;
        for (let i = start; i < end; i++) {
          const exact = size === 0 ? 0 : (levels * Math.abs(gradient[i])) / norms[index];
          const below = Math.floor(exact);
          const steps = Math.min(levels, below + (random.uniform() < exact - below ? 1 : 0));
          codes[i] = levels + (gradient[i] < 0 ? -steps : steps);
        }
      });
      return writePayload(norms, codes, bits);
    },
    decompress(payload, length) {
      const { scales, codes } = readPayload(payload, Math.ceil(length / bucket), length, bits);
      return floats(length, (i) => (scales[Math.floor(i / bucket)] * (codes[i] - levels)) / levels);
    },
  };
}

function l2(values: Float32Array, start: number, end: number): number {
  let sum = 0;
  for (let i = start; i < end; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

/** Rounds up to an f32: a norm that was rounded down would move the largest element beyond the last level. */
function upward(value: number): number {
  const rounded = Math.fround(value);
  return rounded >= value ? rounded : Math.fround(value * (1 + 2 ** -23));
}
