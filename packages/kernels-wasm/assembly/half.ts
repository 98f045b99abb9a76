/**
 * Decodes the patterns `[first, last)` of f16 (`exponentBits` 5) or bf16 (8). Sets `odd[worker]` if a pattern has all
 * bits of its exponent set: NaN or an infinity.
 */
export function decodeHalves(patterns: usize, exponentBits: i32, values: usize, odd: usize, first: usize, last: usize, worker: usize): void {
  const short = exponentBits == 5;
  const exponent = i16x8.splat(short ? 0x7c00 : 0x7f80);
  let special = i16x8.splat(0);
  let i = first;
  for (; i + 8 <= last; i += 8) {
    const x = v128.load(patterns + i * 2);
    special = v128.or(special, i16x8.eq(v128.and(x, exponent), exponent));
    const low = i32x4.extend_low_i16x8_u(x), high = i32x4.extend_high_i16x8_u(x);
    v128.store(values + i * 4, short ? fromF16(low) : i32x4.shl(low, 16));
    v128.store(values + i * 4, short ? fromF16(high) : i32x4.shl(high, 16), 16);
  }
  for (; i < last; i++) {
    const x = i32x4.splat(<i32>load<u16>(patterns + i * 2));
    special = v128.or(special, i16x8.eq(v128.and(x, exponent), exponent));
    v128.store32_lane(values + i * 4, short ? fromF16(x) : i32x4.shl(x, 16), 0);
  }
  if (v128.any_true(special)) store<i32>(odd + worker * 4, 1);
}

/**
 * Exponent and significand at the bit positions of f32, times 2^112 for the bias. Denormals become normal; NaN and
 * infinities are wrong.
 */
// @ts-expect-error: decorator
@inline
export function fromF16(x: v128): v128 {
  const magnitude = i32x4.shl(v128.and(x, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(x, i32x4.splat(0x8000)), 16);
  return v128.or(f32x4.mul(magnitude, f32x4.splat(5.192296858534828e33)), sign);
}
