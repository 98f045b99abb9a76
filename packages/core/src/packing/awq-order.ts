import { definePacking, type Packing } from './packing.js';

/** Column that each nibble of a word holds, lowest nibble first (formats.md 3.1). */
const columnOfNibble = [0, 2, 4, 6, 1, 3, 5, 7];

/**
 * AutoAWQ's `gemm` order: 8 codes of 4 bits a 32-bit word, nibble k holding code `[0,2,4,6,1,3,5,7][k]`. Codes 0..7 give
 * 0x75316420.
 */
export const awqOrder: Packing = definePacking({
  name: 'awq',
  bits: 4,
  multiple: 8,
  bytes: (count) => count / 2,
  pack(codes, out) {
    for (let i = 0, o = 0; i < codes.length; i += 8, o += 4) {
      out[o] = codes[i] | (codes[i + 2] << 4);
      out[o + 1] = codes[i + 4] | (codes[i + 6] << 4);
      out[o + 2] = codes[i + 1] | (codes[i + 3] << 4);
      out[o + 3] = codes[i + 5] | (codes[i + 7] << 4);
    }
  },
  unpack(bytes, out) {
    for (let i = 0; i < out.length; i++) {
      const word = i & ~7;
      const nibble = i & 7;
      out[word + columnOfNibble[nibble]] = (bytes[(word >> 1) + (nibble >> 1)] >>> (4 * (nibble & 1))) & 15;
    }
  },
});
