import { madd } from './madd';

/**
 * Dot products of pairs of signed bytes of `x` and codes of `c`, in eight 16-bit lanes, exactly. With relaxed SIMD
 * codes must be below 128; then every processor gives the same integers. (The form that adds to 32-bit lanes would save
 * an instruction, but it gives twice the product and adds nothing in V8 11.3, Node 20's, on x86.)
 */
// @ts-expect-error: decorator
@inline
export function dot8(x: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i16x8.relaxed_dot_i8x16_i7x16_s(x, c);
  const even = i16x8.mul(i16x8.shr_s(i16x8.shl(x, 8), 8), v128.and(c, i16x8.splat(0xff)));
  const odd = i16x8.mul(i16x8.shr_s(x, 8), i16x8.shr_u(c, 8));
  return i16x8.add(even, odd);
}

/** Sums of a tile of 4 tokens, in i32. */
export const tileSums: usize = memory.data(128 * 16);

/** Adds pairs of 16-bit sums to the values at `at`, or replaces these values. */
// @ts-expect-error: decorator
@inline
export function widen(at: usize, sums: v128, replace: bool): void {
  const wide = i32x4.extadd_pairwise_i16x8_s(sums);
  v128.store(at, replace ? wide : i32x4.add(wide, v128.load(at)));
}

/** Adds eight outputs of a token: `y (+)= scale (sum - zero inputs)`. */
// @ts-expect-error: decorator
@inline
export function addSum(y: usize, scale: usize, zero: usize, inputs: v128, low: v128, high: v128, replace: bool): void {
  low = f32x4.mul(v128.load(scale), madd(v128.load(zero), inputs, low));
  high = f32x4.mul(v128.load(scale, 16), madd(v128.load(zero, 16), inputs, high));
  if (!replace) {
    low = f32x4.add(low, v128.load(y));
    high = f32x4.add(high, v128.load(y, 16));
  }
  v128.store(y, low);
  v128.store(y, high, 16);
}

/** Multiplies eight outputs with the scale of their token. */
// @ts-expect-error: decorator
@inline
export function scaleRow(y: usize, factor: usize): void {
  const f = v128.load32_splat(factor);
  v128.store(y, f32x4.mul(v128.load(y), f));
  v128.store(y, f32x4.mul(v128.load(y, 16), f), 16);
}
