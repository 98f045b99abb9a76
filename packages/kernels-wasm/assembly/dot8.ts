/**
 * Dot products of pairs of signed bytes of `x` and codes of `c`, in eight 16-bit lanes, exactly: with relaxed SIMD codes must be
 * below 128, and then every processor gives the same integers. (The form that adds to 32-bit lanes ignores what it should add
 * to in V8 11.3, Node 20's, on x86.)
 */
// @ts-expect-error: decorator
@inline
export function dot8(x: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i16x8.relaxed_dot_i8x16_i7x16_s(x, c);
  const even = i16x8.mul(i16x8.shr_s(i16x8.shl(x, 8), 8), v128.and(c, i16x8.splat(0xff)));
  const odd = i16x8.mul(i16x8.shr_s(x, 8), i16x8.shr_u(c, 8));
  return i16x8.add(even, odd);
}
