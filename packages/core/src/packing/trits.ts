import { definePacking, type Packing } from './packing.js';

/** Runs of a block of 256: `trits` codes a byte, `width` bytes, codes `start + m + width * n`. */
const runs = [
  { start: 0, width: 32, trits: 5, at: 0 },
  { start: 160, width: 16, trits: 5, at: 32 },
  { start: 240, width: 4, trits: 4, at: 48 },
] as const;
const bytesPerBlock = 52;

/**
 * Ternary codes 0..2 at 1.625 bits, in the order of GGUF's TQ1_0
 * (docs/reference/file-formats.md#block-layouts-of-gguf): five trits a byte, the first one the most significant,
 * `byte = ceil(v * 256 / 243)`, so that a reader gets trit n as `((byte * 3^n mod 256) * 3) >> 8`. A block of 256 codes
 * is 48 bytes of five (`qs`) and 4 of four trits (`qh`, padded with a zero).
 */
export const trits: Packing = definePacking({
  name: 'trits',
  bits: 2,
  multiple: 256,
  bytes: (count) => (count / 256) * bytesPerBlock,
  pack(codes, out) {
    for (let block = 0, o = 0; block < codes.length; block += 256, o += bytesPerBlock) {
      for (const { start, width, trits: each, at } of runs) {
        for (let m = 0; m < width; m++) {
          let value = 0;
          for (let n = 0; n < 5; n++) value = 3 * value + (n < each ? codes[block + start + m + width * n] : 0);
          out[o + at + m] = Math.ceil((value * 256) / 243);
        }
      }
    }
  },
  unpack(bytes, out) {
    for (let block = 0, o = 0; block < out.length; block += 256, o += bytesPerBlock) {
      for (const { start, width, trits: each, at } of runs) {
        for (let m = 0; m < width; m++) {
          let byte = bytes[o + at + m];
          for (let n = 0; n < each; n++) {
            out[block + start + m + width * n] = (byte * 3) >> 8;
            byte = (byte * 3) & 0xff;
          }
        }
      }
    }
  },
});
