import { madd } from './madd';

/**
 * 1.5 * 2^23. Adding it to a value of magnitude below 2^22 rounds the value to an integer n, half to even. The lowest
 * 23 bits of the sum are n + 2^22.
 */
const roundingMagic: f32 = 12582912;

/**
 * e^x of four values. x = n ln 2 + r with |r| <= 0.347. ln 2 has two parts, and n times the first part is exact. The
 * Taylor polynomial of degree 7 has a relative error of 5e-9, below f32's own 6e-8. Beyond [-87.3, 88] the result is
 * that of the nearer end, so no result overflows or is denormal. NaN stays NaN.
 */
// @ts-expect-error: decorator
@inline
export function exp4(x: v128): v128 {
  // pmin and pmax are one instruction of x86 each, and return their first argument if it is NaN. min and max, and the
  // conversion of a float to an integer, are several.
  x = f32x4.pmax(f32x4.pmin(x, f32x4.splat(88)), f32x4.splat(-87.3));
  const shifted = f32x4.add(f32x4.mul(x, f32x4.splat(1.44269504)), f32x4.splat(roundingMagic));
  const n = f32x4.sub(shifted, f32x4.splat(roundingMagic));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = madd(n, f32x4.splat(0.000212194440), r);
  let p = f32x4.splat(<f32>(1.0 / 5040));
  p = madd(p, r, f32x4.splat(<f32>(1.0 / 720)));
  p = madd(p, r, f32x4.splat(<f32>(1.0 / 120)));
  p = madd(p, r, f32x4.splat(<f32>(1.0 / 24)));
  p = madd(p, r, f32x4.splat(<f32>(1.0 / 6)));
  p = madd(p, r, f32x4.splat(0.5));
  p = madd(p, r, f32x4.splat(1));
  p = madd(p, r, f32x4.splat(1));
  return f32x4.mul(p, i32x4.shl(i32x4.add(shifted, i32x4.splat(127)), 23));
}

// @ts-expect-error: decorator
@inline
export function sigmoid4(x: v128): v128 {
  return f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), exp4(f32x4.neg(x))));
}

/** `2 sigmoid(2x) - 1` */
// @ts-expect-error: decorator
@inline
export function tanh4(x: v128): v128 {
  const s = sigmoid4(f32x4.add(x, x));
  return f32x4.sub(f32x4.add(s, s), f32x4.splat(1));
}
