import { definePacking, type Packing, wordsOf } from './packing.js';

/** Two 4-bit codes a byte, the first one in the high nibble; an odd last code has zeros below it (bitsandbytes, formats.md 5.1). */
export const highNibbleFirst: Packing = definePacking({
  name: 'high-nibble-first',
  bits: 4,
  bytes: (count) => Math.ceil(count / 2),
  pack(codes, out) {
    const pairs = codes.length >>> 1;
    const words = wordsOf(codes);
    const quads = words ? pairs >>> 1 : 0;
    if (words) {
      for (let i = 0; i < quads; i++) {
        const word = words[i];
        out[2 * i] = (word << 4) | (word >>> 8);
        out[2 * i + 1] = ((word >>> 12) & 0xf0) | (word >>> 24);
      }
    }
    for (let i = 2 * quads; i < pairs; i++) out[i] = (codes[2 * i] << 4) | codes[2 * i + 1];
    if (codes.length % 2 === 1) out[pairs] = codes[codes.length - 1] << 4;
  },
  unpack(bytes, out) {
    const pairs = out.length >>> 1;
    for (let i = 0; i < pairs; i++) {
      out[2 * i] = bytes[i] >>> 4;
      out[2 * i + 1] = bytes[i] & 15;
    }
    if (out.length % 2 === 1) out[out.length - 1] = bytes[pairs] >>> 4;
  },
});
