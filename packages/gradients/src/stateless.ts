import type { GradientCodec, GradientCompressor } from './gradient-compressor.js';
import { meanOf } from './mean-of.js';

/** Uses a codec without any state, one round a step: for unbiased and exact codecs. */
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
