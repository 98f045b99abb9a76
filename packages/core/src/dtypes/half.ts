/**
 * f16 (IEEE binary16) and bf16 as 16-bit patterns. Encoding rounds half to even from f32. An f64 is rounded to f32
 * first, as in every reference implementation (docs/reference/file-formats.md#rules-for-all-of-them: double rounding
 * differs for some values).
 */
const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

const f16Table = buildF16Table();

function buildF16Table(): Float32Array {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const mantissa = bits & 1023;
    if (exponent === 31) table[bits] = mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === 0) table[bits] = sign * mantissa * 2 ** -24;
    else table[bits] = sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  }
  return table;
}

function f16FromF32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude < 0x38800000) {
    // Below 2^-14: subnormal. Shift the significand, rounding half to even; below 2^-25 (tie at 2^-25) it is zero.
    if (magnitude < 0x33000000) return sign;
    const shift = 126 - (magnitude >>> 23);
    const significand = (magnitude & 0x7fffff) | 0x800000;
    const kept = significand >>> shift;
    const rest = significand & ((1 << shift) - 1);
    const half = 1 << (shift - 1);
    return sign | (kept + (rest > half || (rest === half && kept & 1) ? 1 : 0));
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

function bf16FromF32Bits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Bits of the f16 nearest to `Math.fround(x)`; 65520 and above is infinity, NaN is 0x7e00. */
export function f32ToF16(x: number): number {
  scratch[0] = x;
  return f16FromF32Bits(scratchBits[0]);
}

/** Value of f16 bits. */
export function f16ToF32(bits: number): number {
  return f16Table[bits];
}

/** Bits of the bf16 nearest to `Math.fround(x)`; NaN stays NaN. */
export function f32ToBf16(x: number): number {
  scratch[0] = x;
  return bf16FromF32Bits(scratchBits[0]);
}

/** Value of bf16 bits. */
export function bf16ToF32(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0];
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** f32 values to f16 patterns. */
export function encodeF16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) out[i] = f16FromF32Bits(bits[i]);
  return out;
}

/** f16 patterns to f32 values. */
export function decodeF16(patterns: Uint16Array, out: Float32Array = new Float32Array(patterns.length)): Float32Array {
  for (let i = 0; i < patterns.length; i++) out[i] = f16Table[patterns[i]];
  return out;
}

/** f32 values to bf16 patterns. */
export function encodeBf16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) out[i] = bf16FromF32Bits(bits[i]);
  return out;
}

/** bf16 patterns to f32 values; exact. */
export function decodeBf16(patterns: Uint16Array, out: Float32Array = new Float32Array(patterns.length)): Float32Array {
  const bits = bitsOf(out);
  const { length, byteOffset, buffer } = patterns;
  // Two values at a time if they are aligned: half the loads.
  const pairs = byteOffset % 4 === 0 ? length >>> 1 : 0;
  const words = new Uint32Array(buffer, byteOffset - (byteOffset % 4), pairs);
  for (let i = 0, j = 0; i < pairs; i++, j += 2) {
    const word = words[i];
    bits[j] = word << 16;
    bits[j + 1] = word & 0xffff0000;
  }
  for (let i = 2 * pairs; i < length; i++) bits[i] = patterns[i] << 16;
  return out;
}
