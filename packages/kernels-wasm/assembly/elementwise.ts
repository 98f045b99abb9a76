import { exp4, sigmoid4, tanh4 } from './exp';
import { madd } from './madd';

// The length of every buffer is a multiple of 16 values. Whole vectors are written, and the last one may reach beyond
// the values.

/** Functions of two values: 0 sum, 1 product, 2 difference, 3 quotient. */
// @ts-expect-error: decorator
@inline
function pair(kind: i32, a: v128, b: v128): v128 {
  if (kind == 0) return f32x4.add(a, b);
  if (kind == 1) return f32x4.mul(a, b);
  if (kind == 2) return f32x4.sub(a, b);
  return f32x4.div(a, b);
}

/**
 * `out = pair(kind, a, b)` for rows of `width` values. Rows of `b` are `bStep` bytes apart, 0 for one row. With
 * `column`, each row of `b` is a single value.
 */
export function combineRows(a: usize, b: usize, bStep: usize, out: usize, width: usize, kind: i32, column: bool, first: usize, last: usize, worker: usize): void {
  if (kind == 0) combine(0, a, b, bStep, out, width, column, first, last);
  else if (kind == 1) combine(1, a, b, bStep, out, width, column, first, last);
  else if (kind == 2) combine(2, a, b, bStep, out, width, column, first, last);
  else combine(3, a, b, bStep, out, width, column, first, last);
}

// @ts-expect-error: decorator
@inline
function combine(kind: i32, a: usize, b: usize, bStep: usize, out: usize, width: usize, column: bool, first: usize, last: usize): void {
  for (let row = first; row < last; row++) {
    const x = a + row * width * 4;
    const y = b + row * bStep;
    const to = out + row * width * 4;
    const whole = width & ~3;
    let j: usize = 0;
    if (column) {
      const v = v128.load32_splat(y);
      for (; j < whole; j += 4) v128.store(to + j * 4, pair(kind, v128.load(x + j * 4), v));
      for (; j < width; j++) v128.store_lane<f32>(to + j * 4, pair(kind, v128.load32_zero(x + j * 4), v), 0);
    } else {
      for (; j < whole; j += 4) v128.store(to + j * 4, pair(kind, v128.load(x + j * 4), v128.load(y + j * 4)));
      for (; j < width; j++) v128.store_lane<f32>(to + j * 4, pair(kind, v128.load32_zero(x + j * 4), v128.load32_zero(y + j * 4)), 0);
    }
  }
}

/**
 * Functions of one value, vectors `[first, last)` of 4: 0 scale (by `low`), 1 relu, 2 sigmoid, 3 silu, 4 gelu, 5
 * geluTanh, 6 the absolute value, 7 the nearest integer (half to even), 8 limits to `[low, high]`, 9 tanh.
 */
export function mapVectors(kind: i32, x: usize, low: f32, high: f32, out: usize, first: usize, last: usize, worker: usize): void {
  for (let at = first * 16; at < last * 16; at += 16) {
    const v = v128.load(x + at);
    let y: v128;
    if (kind == 0) y = f32x4.mul(v, f32x4.splat(low));
    else if (kind == 1) y = f32x4.max(v, f32x4.splat(0));
    else if (kind == 2) y = sigmoid4(v);
    else if (kind == 3) y = f32x4.mul(v, sigmoid4(v));
    else if (kind == 4) y = f32x4.mul(f32x4.mul(v, f32x4.splat(0.5)), f32x4.add(f32x4.splat(1), erf4(f32x4.mul(v, f32x4.splat(0.70710678)))));
    else if (kind == 6) y = f32x4.abs(v);
    else if (kind == 7) y = f32x4.nearest(v);
    else if (kind == 8) y = f32x4.max(f32x4.splat(low), f32x4.min(f32x4.splat(high), v));
    else if (kind == 9) y = tanh4(v);
    else {
      // (1 + tanh u) / 2 = sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
      const inner = f32x4.mul(v, madd(f32x4.mul(v, v), f32x4.splat(0.044715), f32x4.splat(1)));
      y = f32x4.mul(v, sigmoid4(f32x4.mul(inner, f32x4.splat(1.59576912))));
    }
    v128.store(out + at, y);
  }
}

/**
 * `out = dy` times the derivative of `mapVectors(kind, x, low, high)`; 0 at and beyond the kinks of relu and the
 * absolute value.
 */
export function mapGradient(kind: i32, x: usize, dy: usize, low: f32, high: f32, out: usize, first: usize, last: usize, worker: usize): void {
  const zero = f32x4.splat(0), one = f32x4.splat(1);
  for (let at = first * 16; at < last * 16; at += 16) {
    const v = v128.load(x + at);
    const d = v128.load(dy + at);
    let y: v128;
    if (kind == 1) y = v128.and(d, f32x4.gt(v, zero));
    else if (kind == 2) {
      const s = sigmoid4(v);
      y = f32x4.mul(d, f32x4.mul(s, f32x4.sub(one, s)));
    } else if (kind == 3) {
      const s = sigmoid4(v);
      y = f32x4.mul(d, f32x4.mul(s, madd(v, f32x4.sub(one, s), one)));
    } else if (kind == 4) {
      // Phi(x) + x phi(x), the normal distribution and its density.
      const whole = f32x4.mul(f32x4.splat(0.5), f32x4.add(one, erf4(f32x4.mul(v, f32x4.splat(0.70710678)))));
      const density = f32x4.mul(f32x4.splat(0.39894228), exp4(f32x4.mul(f32x4.mul(v, v), f32x4.splat(-0.5))));
      y = f32x4.mul(d, madd(v, density, whole));
    } else if (kind == 9) {
      const t = tanh4(v);
      y = f32x4.mul(d, f32x4.sub(one, f32x4.mul(t, t)));
    } else if (kind == 6) y = v128.bitselect(f32x4.neg(d), v128.and(d, f32x4.gt(v, zero)), f32x4.lt(v, zero));
    else if (kind == 8) y = v128.and(d, v128.and(f32x4.ge(v, f32x4.splat(low)), f32x4.le(v, f32x4.splat(high))));
    else {
      // x sigmoid(w), w = c (x + 0.044715 x^3): sigmoid + x sigmoid (1 - sigmoid) c (1 + 3 * 0.044715 x^2)
      const square = f32x4.mul(v, v);
      const s = sigmoid4(f32x4.mul(f32x4.mul(v, madd(square, f32x4.splat(0.044715), one)), f32x4.splat(1.59576912)));
      const slope = f32x4.mul(madd(square, f32x4.splat(0.134145), one), f32x4.splat(1.59576912));
      y = f32x4.mul(d, f32x4.mul(s, madd(f32x4.mul(v, f32x4.sub(one, s)), slope, one)));
    }
    v128.store(out + at, y);
  }
}

/** Abramowitz and Stegun 7.1.26: absolute error 1.5e-7. */
// @ts-expect-error: decorator
@inline
function erf4(x: v128): v128 {
  const z = f32x4.abs(x);
  const t = f32x4.div(f32x4.splat(1), madd(z, f32x4.splat(0.3275911), f32x4.splat(1)));
  let p = f32x4.splat(1.061405429);
  p = madd(p, t, f32x4.splat(-1.453152027));
  p = madd(p, t, f32x4.splat(1.421413741));
  p = madd(p, t, f32x4.splat(-0.284496736));
  p = madd(p, t, f32x4.splat(0.254829592));
  p = f32x4.mul(p, t);
  const tail = f32x4.mul(p, exp4(f32x4.neg(f32x4.mul(z, z))));
  const sign = v128.and(x, i32x4.splat(0x80000000));
  return v128.or(f32x4.sub(f32x4.splat(1), tail), sign);
}
