import type { GradientCompressor } from './gradient-compressor.js';
import { expectBytes, readFloats, writeFloats } from './payload.js';
import { stateless } from './stateless.js';

/** No compression: f32 values, 4 bytes each. The baseline for all other schemes. */
export function exact(): GradientCompressor {
  return stateless({
    name: 'none',
    options: {},
    unbiased: true,
    compress: writeFloats,
    decompress(payload, length) {
      expectBytes(payload, 4 * length);
      return readFloats(payload, length);
    },
  });
}
