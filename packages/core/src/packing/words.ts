import { ShapeError } from '../contracts/errors.js';

/**
 * Codes as one contiguous LSB-first bit stream in 32-bit words: code j occupies bits `j*bits .. j*bits+bits-1`. For 2, 4
 * and 8 bits no code crosses a word; for 3, 5, 6 and 7 bits 32 codes fill `bits` words (GPTQ, compressed-tensors).
 * The last word is padded with zeros.
 */
export function packWords32(
  codes: Uint8Array,
  bits: number,
  out = new Uint32Array(Math.ceil((codes.length * bits) / 32)),
): Uint32Array {
  checkBits(bits);
  let word = 0;
  let filled = 0;
  let index = 0;
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    word |= code << filled;
    filled += bits;
    if (filled >= 32) {
      out[index++] = word;
      filled -= 32;
      word = filled === 0 ? 0 : code >>> (bits - filled);
    }
  }
  if (filled > 0) out[index] = word;
  return out;
}

/** Inverse of {@link packWords32}. */
export function unpackWords32(
  words: Uint32Array,
  bits: number,
  count: number,
  out = new Uint8Array(count),
): Uint8Array {
  checkBits(bits);
  if (words.length * 32 < count * bits) {
    throw new ShapeError(
      `${count} codes of ${bits} bits need ${Math.ceil((count * bits) / 32)} words, got ${words.length}`,
    );
  }
  const mask = 2 ** bits - 1;
  for (let i = 0, position = 0; i < count; i++, position += bits) {
    const index = position >>> 5;
    const shift = position & 31;
    let code = words[index] >>> shift;
    if (shift + bits > 32) code |= words[index + 1] << (32 - shift);
    out[i] = code & mask;
  }
  return out;
}

function checkBits(bits: number): void {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8)
    throw new ShapeError(`packing takes 1 to 8 bits a code, got ${bits}`);
}
