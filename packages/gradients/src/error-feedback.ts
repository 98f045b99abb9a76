import type { GradientCodec, GradientCompressor } from './gradient-compressor.js';
import { meanOf } from './mean-of.js';
import { createResidual } from './residual.js';

/**
 * Adds the unsent part of earlier steps to each gradient (Karimireddy et al., arXiv 1901.09847): `p = g + e`, `C(p)` is
 * sent, `e = p - C(p)`. The sum of all sent values plus the residual is the sum of the gradients. This makes biased
 * codecs converge.
 */
export function errorFeedback(codec: GradientCodec): GradientCompressor {
  return {
    name: `${codec.name}-ef`,
    options: codec.options,
    unbiased: false,
    createState(shape) {
      const residual = createResidual(shape.reduce((product, size) => product * size, 1));
      return {
        *reduce(gradient, random) {
          const wanted = new Float64Array(gradient.length);
          for (let i = 0; i < wanted.length; i++) wanted[i] = gradient[i] + residual.values[i];
          const payload = codec.compress(Float32Array.from(wanted), random);
          const sent = codec.decompress(payload, gradient.length);
          for (let i = 0; i < wanted.length; i++) residual.values[i] = wanted[i] - sent[i];
          const payloads = yield payload;
          return meanOf(
            payloads.map((each) => codec.decompress(each, gradient.length)),
            gradient.length,
          );
        },
        save: residual.save,
        load: residual.load,
      };
    },
  };
}
