// Functions that encode blocks work in `blockBuffer` bytes of scratch a thread, and set `odd[worker]` when a value or a
// scale is not finite.
import { decodeHalves } from './half';

export const blockBuffer: usize = 8192;

/**
 * Address of `count` f32 values from `begin` on: their own address for f32, or `buffer` with the converted values for
 * f16 (`kind` 5) and bf16 (8).
 */
export function floatsOf(source: usize, kind: i32, begin: usize, count: usize, buffer: usize, odd: usize, worker: usize): usize {
  if (kind != 0) {
    decodeHalves(source + begin * 2, kind, buffer, odd, 0, count, worker);
    return buffer;
  }
  const at = source + begin * 4;
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < count; i += 4) {
    const x = v128.load(at + i * 4);
    sum = f32x4.add(sum, f32x4.sub(x, x));
  }
  if (v128.any_true(f32x4.ne(sum, sum))) store<i32>(odd + worker * 4, 1);
  return at;
}

/** The nearest f16, ties to even. */
function toF16(x: f32): u32 {
  const bits = reinterpret<u32>(x);
  const sign = (bits >> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // The last place of 0.5 is that of f16's denormals.
  if (magnitude < 0x38800000) return sign | (reinterpret<u32>(reinterpret<f32>(magnitude) + 0.5) - 0x3f000000);
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
}

/** Stores a scale as f16 and returns the stored value. */
export function putScale(at: usize, scale: f32, odd: usize, worker: usize): f32 {
  const pattern = toF16(scale);
  store<u16>(at, <u16>pattern);
  if ((pattern & 0x7c00) == 0x7c00) store<i32>(odd + worker * 4, 1);
  const value = reinterpret<f32>((pattern & 0x7fff) << 13) * <f32>5.192296858534828e33;
  return pattern & 0x8000 ? -value : value;
}

/** The low bits of `x + 1.5 * 2^23`: the nearest integer, ties to even. */
// @ts-expect-error: decorator
@inline
export function nearestInt(x: f32): i32 {
  return (reinterpret<i32>(<f32>(x + 12582912)) & 0x7fffff) - 0x400000;
}

/** The same for four values, clamped, with 2^22 added. `low` and `high` have 2^22 added too. */
// @ts-expect-error: decorator
@inline
export function liftedCodes(x: v128, low: v128, high: v128): v128 {
  const bits = v128.and(f32x4.add(x, f32x4.splat(12582912)), i32x4.splat(0x7fffff));
  return i32x4.min_s(high, i32x4.max_s(low, bits));
}

/** The codes of `liftedCodes` as f32 values. */
// @ts-expect-error: decorator
@inline
export function codeValues(lifted: v128): v128 {
  return f32x4.sub(v128.or(lifted, i32x4.splat(0x4b000000)), f32x4.splat(12582912));
}

/** Sixteen codes of 32 bits as bytes. */
// @ts-expect-error: decorator
@inline
export function narrowed(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
}
