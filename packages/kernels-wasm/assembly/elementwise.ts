import { exp4, sigmoid4 } from './exp';
import { madd } from './madd';

// Every buffer has room for a multiple of 16 values: whole vectors are written, the last one beyond the end.

/** `out = a + b` (`multiply`: `a * b`) for rows of `width` values; rows of `b` are `bStep` bytes apart, 0 for one row. */
export function combineRows(a: usize, b: usize, bStep: usize, out: usize, width: usize, multiply: bool, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const x = a + row * width * 4;
    const y = b + row * bStep;
    const to = out + row * width * 4;
    let j: usize = 0;
    if (multiply) {
      for (; j + 4 <= width; j += 4) v128.store(to + j * 4, f32x4.mul(v128.load(x + j * 4), v128.load(y + j * 4)));
      for (; j < width; j++) store<f32>(to + j * 4, load<f32>(x + j * 4) * load<f32>(y + j * 4));
    } else {
      for (; j + 4 <= width; j += 4) v128.store(to + j * 4, f32x4.add(v128.load(x + j * 4), v128.load(y + j * 4)));
      for (; j < width; j++) store<f32>(to + j * 4, load<f32>(x + j * 4) + load<f32>(y + j * 4));
    }
  }
}

/** Functions of one value, vectors `[first, last)` of 4: 0 scale, 1 relu, 2 sigmoid, 3 silu, 4 gelu, 5 geluTanh. */
export function mapVectors(kind: i32, x: usize, factor: f32, out: usize, first: usize, last: usize, worker: usize): void {
  for (let at = first * 16; at < last * 16; at += 16) {
    const v = v128.load(x + at);
    let y: v128;
    if (kind == 0) y = f32x4.mul(v, f32x4.splat(factor));
    else if (kind == 1) y = f32x4.max(v, f32x4.splat(0));
    else if (kind == 2) y = sigmoid4(v);
    else if (kind == 3) y = f32x4.mul(v, sigmoid4(v));
    else if (kind == 4) y = f32x4.mul(f32x4.mul(v, f32x4.splat(0.5)), f32x4.add(f32x4.splat(1), erf4(f32x4.mul(v, f32x4.splat(0.70710678)))));
    else {
      // (1 + tanh u) / 2 = sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
      const inner = f32x4.mul(v, madd(f32x4.mul(v, v), f32x4.splat(0.044715), f32x4.splat(1)));
      y = f32x4.mul(v, sigmoid4(f32x4.mul(inner, f32x4.splat(1.59576912))));
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
