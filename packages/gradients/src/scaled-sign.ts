import { eachBucket, expectInteger } from './buckets.js';
import { floats } from './floats.js';
import type { GradientCodec } from './gradient-compressor.js';
import { readPayload, writePayload } from './payload.js';

export interface ScaledSignOptions {
  /** Elements that share a scale. Default 256. */
  readonly block?: number;
}

/**
 * The sign of each element times the mean magnitude of its block (EF-SignSGD, Karimireddy et al., arXiv 1901.09847): 1 +
 * 32 / block bits an element. Biased: wrap it in `errorFeedback`. `|C(g) - g|^2 = (1 - |g|_1^2 / (n |g|_2^2)) |g|^2` for
 * each block. The sign of 0 is +1.
 *
 * The paper has one scale for a tensor. Rows and columns of a weight have gradients of different size.
 * @throws SchemeError for options out of range
 */
export function scaledSign({ block = 256 }: ScaledSignOptions = {}): GradientCodec {
  expectInteger('scaledSign: block', block, 1, 2 ** 24);
  return {
    name: 'sign',
    options: { block },
    unbiased: false,
    compress(gradient) {
      const scales = new Float32Array(Math.ceil(gradient.length / block));
      eachBucket(gradient.length, block, (index, start, end) => {
        let sum = 0;
        for (let i = start; i < end; i++) sum += Math.abs(gradient[i]);
        scales[index] = sum / (end - start);
      });
      const codes = new Uint8Array(gradient.length);
      for (let i = 0; i < codes.length; i++) codes[i] = gradient[i] < 0 ? 0 : 1;
      return writePayload(scales, codes, 1);
    },
    decompress(payload, length) {
      const { scales, codes } = readPayload(payload, Math.ceil(length / block), length, 1);
      return floats(length, (i) => {
        const scale = scales[Math.floor(i / block)];
        return codes[i] === 1 ? scale : -scale;
      });
    },
  };
}
