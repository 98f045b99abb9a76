import type { GradientCodec } from './gradient-compressor.js';
import { readPayload, writePayload } from './payload.js';

/**
 * The sign of each element times the mean magnitude of the tensor (EF-SignSGD, Karimireddy et al., arXiv 1901.09847):
 * one bit an element. Biased: wrap it in `errorFeedback`. `|C(g) - g|^2 = (1 - |g|_1^2 / (n |g|_2^2)) |g|^2`. The sign
 * of 0 is +1.
 */
export function scaledSign(): GradientCodec {
  return {
    name: 'sign',
    options: {},
    unbiased: false,
    compress(gradient) {
      let sum = 0;
      for (const value of gradient) sum += Math.abs(value);
      return writePayload(
        Float32Array.of(gradient.length > 0 ? sum / gradient.length : 0),
        Uint8Array.from(gradient, (value) => (value < 0 ? 0 : 1)),
        1,
      );
    },
    decompress(payload, length) {
      const { scales, codes } = readPayload(payload, 1, length, 1);
      return Float32Array.from(codes, (code) => (code === 1 ? scales[0] : -scales[0]));
    },
  };
}
