import { exp4 } from './exp';
import { madd } from './madd';

/** Sum of `f` over a row in 8 interleaved f32 sums, joined in f64. */
// @ts-expect-error: decorator
@inline
export function join(a: v128, b: v128): f64 {
  return (
    <f64>f32x4.extract_lane(a, 0) + <f64>f32x4.extract_lane(a, 1) + <f64>f32x4.extract_lane(a, 2) + <f64>f32x4.extract_lane(a, 3) +
    <f64>f32x4.extract_lane(b, 0) + <f64>f32x4.extract_lane(b, 1) + <f64>f32x4.extract_lane(b, 2) + <f64>f32x4.extract_lane(b, 3)
  );
}

/** Mean of a row: 8 interleaved f32 sums joined in f64. */
export function meanOf(row: usize, width: usize): f32 {
  let a = f32x4.splat(0), b = a;
  let j: usize = 0;
  for (; j + 8 <= width; j += 8) {
    a = f32x4.add(a, v128.load(row + j * 4));
    b = f32x4.add(b, v128.load(row + j * 4, 16));
  }
  let sum = join(a, b);
  for (; j < width; j++) sum += load<f32>(row + j * 4);
  return <f32>(sum / <f64>width);
}

/**
 * `(x - mean) * gain / sqrt(mean((x - mean)^2) + epsilon) + bias` for rows of `width`. Without `centre` the mean is not
 * subtracted; with `bias` 0 no bias is added.
 */
export function normRows(x: usize, gain: usize, bias: usize, epsilon: f32, centre: bool, out: usize, width: usize, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const from = x + row * width * 4;
    const to = out + row * width * 4;
    const mean: f32 = centre ? meanOf(from, width) : 0;
    const m = f32x4.splat(mean);
    let a = f32x4.splat(0), b = a;
    let j: usize = 0;
    for (; j + 8 <= width; j += 8) {
      const u = f32x4.sub(v128.load(from + j * 4), m);
      const v = f32x4.sub(v128.load(from + j * 4, 16), m);
      a = madd(u, u, a);
      b = madd(v, v, b);
    }
    let sum = join(a, b);
    for (; j < width; j++) {
      const u = load<f32>(from + j * 4) - mean;
      sum += u * u;
    }
    const factor = <f32>(1.0 / sqrt(sum / <f64>width + <f64>epsilon));
    const f = f32x4.splat(factor);
    j = 0;
    for (; j + 4 <= width; j += 4) {
      let y = f32x4.mul(f32x4.mul(f32x4.sub(v128.load(from + j * 4), m), f), v128.load(gain + j * 4));
      if (bias != 0) y = f32x4.add(y, v128.load(bias + j * 4));
      v128.store(to + j * 4, y);
    }
    for (; j < width; j++) {
      let y = (load<f32>(from + j * 4) - mean) * factor * load<f32>(gain + j * 4);
      if (bias != 0) y += load<f32>(bias + j * 4);
      store<f32>(to + j * 4, y);
    }
  }
}

/** Softmax of rows of `width` values. */
export function softmaxRows(x: usize, out: usize, width: usize, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const from = x + row * width * 4;
    const to = out + row * width * 4;
    let highest = load<f32>(from);
    for (let j: usize = 1; j < width; j++) highest = max(highest, load<f32>(from + j * 4));
    const shift = f32x4.splat(highest);
    let sum: f64 = 0;
    let j: usize = 0;
    for (; j + 4 <= width; j += 4) {
      const e = exp4(f32x4.sub(v128.load(from + j * 4), shift));
      v128.store(to + j * 4, e);
      sum += <f64>f32x4.extract_lane(e, 0) + <f64>f32x4.extract_lane(e, 1) + <f64>f32x4.extract_lane(e, 2) + <f64>f32x4.extract_lane(e, 3);
    }
    for (; j < width; j++) {
      const e = f32x4.extract_lane(exp4(f32x4.splat(load<f32>(from + j * 4) - highest)), 0);
      store<f32>(to + j * 4, e);
      sum += e;
    }
    const factor = <f32>(1.0 / sum);
    for (j = 0; j < width; j++) store<f32>(to + j * 4, load<f32>(to + j * 4) * factor);
  }
}
