import type { GradientCodec, GradientCompressor } from './gradient-compressor.js';
import { meanOf } from './mean-of.js';

/** A codec as it is, one round a step and nothing remembered: right for codecs that are unbiased, and for exact ones. */
export function stateless(codec: GradientCodec): GradientCompressor {
  return {
    name: codec.name,
    options: codec.options,
    unbiased: codec.unbiased,
    createState: () => ({
      *reduce(gradient, random) {
        const payloads = yield codec.compress(gradient, random);
        return meanOf(
          payloads.map((payload) => codec.decompress(payload, gradient.length)),
          gradient.length,
        );
      },
      save: () => new Map(),
      load: () => {},
    }),
  };
}
