import { ShapeError } from '../contracts/errors.js';
import { nibblePacking } from './nibbles.js';
import { definePacking, type Packing, wordsOf } from './packing.js';

/**
 * Codes of 1, 2 or 4 bits in chunks. Each chunk has `p = 8 / bits` parts of `chunk / p` codes. Byte m of a chunk holds
 * code m of every part, the first part in the lowest bits.
 *
 * GGUF's Q4_0 family is `bitPlanes(4, 32)` (byte j: code j low, code j+16 high), its NVFP4 `bitPlanes(4, 16)`, the
 * 2-bit planes of Q2_K, Q3_K and TQ2_0 `bitPlanes(2, 128)`. Hugging Face's `bitnet` weights are
 * `bitPlanes(2, elements)`: row r of `[out, in]` is in byte row `r mod (out/4)`
 * (docs/reference/file-formats.md#block-layouts-of-gguf).
 * @throws ShapeError when the chunk cannot be divided into these parts
 */
export function bitPlanes(bits: 1 | 2 | 4, chunk: number): Packing {
  const parts = 8 / bits;
  const width = chunk / parts;
  if (!Number.isInteger(parts) || !Number.isInteger(width) || width < 1) {
    throw new ShapeError(`chunks of ${chunk} codes of ${bits} bits cannot be divided into ${parts} equal parts`);
  }
  const name = `planes${bits}x${chunk}`;
  if (bits === 4 && 32 % chunk === 0) {
    const order = Array.from({ length: chunk }, (_, nibble) => (nibble >> 1) + (nibble % 2) * width);
    return nibblePacking({ name, order, multiple: chunk });
  }
  const mask = 2 ** bits - 1;
  const wordMask = mask * 0x01010101;
  return definePacking({
    name,
    bits,
    multiple: chunk,
    bytes: (count) => count / parts,
    pack(codes, out) {
      const [source, target] = [wordsOf(codes), wordsOf(out)];
      const whole = source !== undefined && target !== undefined && width % 4 === 0;
      // Four bytes at a time if everything is aligned: codes stay within their byte.
      const [from, to, stride] = whole ? [source, target, width / 4] : [codes, out, width];
      for (let start = 0, o = 0; o < to.length; start += stride * parts) {
        for (let m = start; m < start + stride; m++, o++) {
          let packed = 0;
          for (let part = 0; part < parts; part++) packed |= from[m + part * stride] << (part * bits);
          to[o] = packed;
        }
      }
    },
    unpack(bytes, out) {
      const [source, target] = [wordsOf(bytes), wordsOf(out)];
      const whole = source !== undefined && target !== undefined && width % 4 === 0;
      const [from, to, stride] = whole ? [source, target, width / 4] : [bytes, out, width];
      const keep = whole ? wordMask : mask;
      for (let start = 0, i = 0; start < to.length; start += stride * parts) {
        for (let m = start; m < start + stride; m++, i++) {
          for (let part = 0; part < parts; part++) to[m + part * stride] = (from[i] >>> (part * bits)) & keep;
        }
      }
    },
  });
}
