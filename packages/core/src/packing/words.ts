import { ShapeError } from '../contracts/errors.js';
import { lsbFirst } from './lsb-first.js';

/**
 * {@link lsbFirst} in 32-bit words: for 2, 4 and 8 bits no code crosses a word; for 3, 5, 6 and 7 bits 32 codes fill
 * `bits` words (GPTQ, compressed-tensors). The last word is padded with zeros.
 */
export function packWords32(
  codes: Uint8Array,
  bits: number,
  out = new Uint32Array(Math.ceil((codes.length * bits) / 32)),
): Uint32Array {
  const packing = lsbFirst(bits);
  const bytes = packing.bytes(codes.length);
  const target = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  packing.pack(codes, target.subarray(0, bytes));
  target.fill(0, bytes, Math.ceil(bytes / 4) * 4);
  return out;
}

/** Inverse of {@link packWords32}. */
export function unpackWords32(
  words: Uint32Array,
  bits: number,
  count: number,
  out = new Uint8Array(count),
): Uint8Array {
  const packing = lsbFirst(bits);
  if (words.length * 32 < count * bits) {
    throw new ShapeError(
      `${count} codes of ${bits} bits need ${Math.ceil((count * bits) / 32)} words, got ${words.length}`,
    );
  }
  return packing.unpack(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), count, out);
}
