import { ShapeError } from '../contracts/errors.js';
import { nibblePacking } from './nibbles.js';
import { definePacking, type Packing, wordsOf } from './packing.js';

/**
 * Codes as one contiguous LSB-first bit stream: code j occupies bits `j*bits .. j*bits+bits-1` counted from the lowest
 * bit of the first byte. The last byte is padded with zeros. Read as little-endian 32-bit words it is the order of
 * GPTQ, compressed-tensors (signed values offset by 2^(bits-1)), ONNX and E2M1 pairs (low nibble first).
 */
export function lsbFirst(bits: number): Packing {
  const packing = packings[bits];
  if (!packing) throw new ShapeError(`packing takes 1 to 8 bits a code, got ${bits}`);
  return packing;
}

const bytesOf = (bits: number) => (count: number) => Math.ceil((count * bits) / 8);

/** Any width, one code after the other, beginning at code `first` (which must start a byte). */
function packStream(codes: Uint8Array, bits: number, out: Uint8Array, first: number): void {
  let pending = 0;
  let filled = 0;
  let index = (first * bits) / 8;
  for (let i = first; i < codes.length; i++) {
    pending |= codes[i] << filled;
    filled += bits;
    while (filled >= 8) {
      out[index++] = pending;
      pending >>>= 8;
      filled -= 8;
    }
  }
  if (filled > 0) out[index] = pending;
}

function unpackStream(bytes: Uint8Array, bits: number, out: Uint8Array, first: number): void {
  const mask = 2 ** bits - 1;
  for (let i = first, position = first * bits; i < out.length; i++, position += bits) {
    const index = position >>> 3;
    out[i] = ((bytes[index] | (bytes[index + 1] << 8)) >>> (position & 7)) & mask;
  }
}

/** Eight codes a step fill `bits` bytes: two 32-bit halves of the stream's next `8 * bits` bits. */
function packOddWidth(codes: Uint8Array, bits: number, out: Uint8Array): void {
  const whole = codes.length - (codes.length % 8);
  for (let i = 0, o = 0; i < whole; i += 8, o += bits) {
    const low = codes[i] | (codes[i + 1] << bits) | (codes[i + 2] << (2 * bits)) | (codes[i + 3] << (3 * bits));
    const high = codes[i + 4] | (codes[i + 5] << bits) | (codes[i + 6] << (2 * bits)) | (codes[i + 7] << (3 * bits));
    // 4 * bits is 12, 20, 24 or 28: a step is `low` followed by `high`.
    const shift = 4 * bits;
    out[o] = low;
    out[o + 1] = shift === 12 ? (low >>> 8) | (high << 4) : low >>> 8;
    if (bits === 3) {
      out[o + 2] = high >>> 4;
      continue;
    }
    out[o + 2] = shift === 20 ? (low >>> 16) | (high << 4) : low >>> 16;
    if (bits === 5) {
      out[o + 3] = high >>> 4;
      out[o + 4] = high >>> 12;
      continue;
    }
    if (bits === 6) {
      out[o + 3] = high;
      out[o + 4] = high >>> 8;
      out[o + 5] = high >>> 16;
      continue;
    }
    out[o + 3] = (low >>> 24) | (high << 4);
    out[o + 4] = high >>> 4;
    out[o + 5] = high >>> 12;
    out[o + 6] = high >>> 20;
  }
  packStream(codes, bits, out, whole);
}

function unpackOddWidth(bytes: Uint8Array, bits: number, out: Uint8Array): void {
  const mask = 2 ** bits - 1;
  const [middle, shift] = [(4 * bits) >>> 3, (4 * bits) & 7];
  // The last step reads up to three bytes after its own.
  const whole = Math.max(0, out.length - (out.length % 8) - 8);
  for (let i = 0, o = 0; i < whole; i += 8, o += bits) {
    const m = o + middle;
    const low = bytes[o] | (bytes[o + 1] << 8) | (bytes[o + 2] << 16) | (bytes[o + 3] << 24);
    const high = (bytes[m] | (bytes[m + 1] << 8) | (bytes[m + 2] << 16) | (bytes[m + 3] << 24)) >>> shift;
    out[i] = low & mask;
    out[i + 1] = (low >>> bits) & mask;
    out[i + 2] = (low >>> (2 * bits)) & mask;
    out[i + 3] = (low >>> (3 * bits)) & mask;
    out[i + 4] = high & mask;
    out[i + 5] = (high >>> bits) & mask;
    out[i + 6] = (high >>> (2 * bits)) & mask;
    out[i + 7] = (high >>> (3 * bits)) & mask;
  }
  unpackStream(bytes, bits, out, whole);
}

/**
 * Moves four codes of a word together in its low `4 * bits` bits, and back: first the pairs of bytes, then the pairs of
 * pairs. Codes of 1 and 2 bits fill a word with `8 / bits` such words.
 */
const squeeze1 = (w: number) => Math.imul(w & 0x01010101, 0x10204080) >>> 28;

function pack1(codes: Uint8Array, out: Uint8Array): void {
  const words = wordsOf(codes);
  const whole = words ? codes.length >>> 3 : 0;
  if (words) {
    for (let i = 0; i < whole; i++) {
      out[i] = squeeze1(words[2 * i]) | (squeeze1(words[2 * i + 1]) << 4);
    }
  }
  packStream(codes, 1, out, 8 * whole);
}

function unpack1(bytes: Uint8Array, out: Uint8Array): void {
  const words = wordsOf(out);
  const whole = words ? out.length >>> 3 : 0;
  if (words) {
    for (let i = 0; i < whole; i++) {
      const byte = bytes[i];
      words[2 * i] = Math.imul(byte & 15, 0x00204081) & 0x01010101;
      words[2 * i + 1] = Math.imul(byte >>> 4, 0x00204081) & 0x01010101;
    }
  }
  unpackStream(bytes, 1, out, 8 * whole);
}

function pack2(codes: Uint8Array, out: Uint8Array): void {
  const words = wordsOf(codes);
  const target = wordsOf(out);
  const whole = words && target ? codes.length >>> 4 : 0;
  if (words && target) {
    for (let i = 0, j = 0; i < whole; i++, j += 4) {
      let a = words[j];
      let b = words[j + 1];
      let c = words[j + 2];
      let d = words[j + 3];
      a = (a | (a >>> 6)) & 0x000f000f;
      b = (b | (b >>> 6)) & 0x000f000f;
      c = (c | (c >>> 6)) & 0x000f000f;
      d = (d | (d >>> 6)) & 0x000f000f;
      target[i] =
        ((a | (a >>> 12)) & 0xff) |
        (((b | (b >>> 12)) & 0xff) << 8) |
        (((c | (c >>> 12)) & 0xff) << 16) |
        ((d | (d >>> 12)) << 24);
    }
  }
  packStream(codes, 2, out, 16 * whole);
}

function unpack2(bytes: Uint8Array, out: Uint8Array): void {
  const words = wordsOf(bytes);
  const target = wordsOf(out);
  const whole = words && target ? out.length >>> 4 : 0;
  const spread = (byte: number) => {
    const pairs = (byte | (byte << 12)) & 0x000f000f;
    return (pairs | (pairs << 6)) & 0x03030303;
  };
  if (words && target) {
    for (let i = 0, j = 0; i < whole; i++, j += 4) {
      const word = words[i];
      target[j] = spread(word & 0xff);
      target[j + 1] = spread((word >>> 8) & 0xff);
      target[j + 2] = spread((word >>> 16) & 0xff);
      target[j + 3] = spread(word >>> 24);
    }
  }
  unpackStream(bytes, 2, out, 16 * whole);
}

const name = (bits: number) => `lsb${bits}`;

function oddWidth(bits: number): Packing {
  return definePacking({
    name: name(bits),
    bits,
    bytes: bytesOf(bits),
    pack: (codes, out) => packOddWidth(codes, bits, out),
    unpack: (bytes, out) => unpackOddWidth(bytes, bits, out),
  });
}

const packings: Readonly<Record<number, Packing>> = {
  1: definePacking({ name: name(1), bits: 1, bytes: bytesOf(1), pack: pack1, unpack: unpack1 }),
  2: definePacking({ name: name(2), bits: 2, bytes: bytesOf(2), pack: pack2, unpack: unpack2 }),
  3: oddWidth(3),
  4: nibblePacking({ name: name(4), order: [0, 1], multiple: 1 }),
  5: oddWidth(5),
  6: oddWidth(6),
  7: oddWidth(7),
  8: definePacking({
    name: name(8),
    bits: 8,
    bytes: bytesOf(8),
    pack: (codes, out) => out.set(codes),
    unpack: (bytes, out) => out.set(bytes.subarray(0, out.length)),
  }),
};
