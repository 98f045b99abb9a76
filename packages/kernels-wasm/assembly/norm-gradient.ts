import { madd } from './madd';
import { join, meanOf } from './norm';

/**
 * Gradient of `normRows` by `x`, with `xhat = (x - mean) f` and `g = dy gain`:
 *
 *     dx = f (g - mean(g) - xhat mean(g xhat))
 *
 * Without `centre` neither mean is subtracted. `product` (0: none) gets `dy xhat`; its sums over rows are the gradient
 * by the gain.
 */
export function normGradientRows(
  x: usize,
  gain: usize,
  dy: usize,
  epsilon: f32,
  centre: bool,
  dx: usize,
  product: usize,
  width: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const count = <f64>width;
  for (let row = first; row < last; row++) {
    const skip = row * width * 4;
    const from = x + skip;
    const arriving = dy + skip;
    const mean: f32 = centre ? meanOf(from, width) : 0;
    const m = f32x4.splat(mean);
    // Sums of the squares, of g, and of g (x - mean).
    let s0 = f32x4.splat(0), s1 = s0, g0 = s0, g1 = s0, p0 = s0, p1 = s0;
    let j: usize = 0;
    for (; j + 8 <= width; j += 8) {
      const u = f32x4.sub(v128.load(from + j * 4), m);
      const v = f32x4.sub(v128.load(from + j * 4, 16), m);
      const a = f32x4.mul(v128.load(arriving + j * 4), v128.load(gain + j * 4));
      const b = f32x4.mul(v128.load(arriving + j * 4, 16), v128.load(gain + j * 4, 16));
      s0 = madd(u, u, s0);
      s1 = madd(v, v, s1);
      g0 = f32x4.add(g0, a);
      g1 = f32x4.add(g1, b);
      p0 = madd(a, u, p0);
      p1 = madd(b, v, p1);
    }
    let squares = join(s0, s1);
    let sum = join(g0, g1);
    let dot = join(p0, p1);
    for (; j < width; j++) {
      const u = load<f32>(from + j * 4) - mean;
      const g = load<f32>(arriving + j * 4) * load<f32>(gain + j * 4);
      squares += u * u;
      sum += g;
      dot += g * u;
    }
    const factor = 1.0 / sqrt(squares / count + <f64>epsilon);
    const f = <f32>factor;
    const shift = centre ? <f32>(sum / count) : 0;
    const share = <f32>(dot / count * factor * factor);
    const f4 = f32x4.splat(f), shift4 = f32x4.splat(shift), share4 = f32x4.splat(share);
    for (j = 0; j + 4 <= width; j += 4) {
      const u = f32x4.sub(v128.load(from + j * 4), m);
      const d = v128.load(arriving + j * 4);
      const g = f32x4.mul(d, v128.load(gain + j * 4));
      v128.store(dx + skip + j * 4, f32x4.mul(f4, f32x4.sub(f32x4.sub(g, shift4), f32x4.mul(u, share4))));
      if (product != 0) v128.store(product + skip + j * 4, f32x4.mul(d, f32x4.mul(u, f4)));
    }
    for (; j < width; j++) {
      const u = load<f32>(from + j * 4) - mean;
      const d = load<f32>(arriving + j * 4);
      store<f32>(dx + skip + j * 4, f * (d * load<f32>(gain + j * 4) - shift - u * share));
      if (product != 0) store<f32>(product + skip + j * 4, d * (u * f));
    }
  }
}

/** Gradient of a softmax from its result: `dx = y (dy - sum y dy)`, rows of `width` values; sums in f64. */
export function softmaxGradientRows(y: usize, dy: usize, dx: usize, width: usize, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const skip = row * width * 4;
    let sum: f64 = 0;
    for (let j: usize = 0; j < width; j++) sum += <f64>load<f32>(y + skip + j * 4) * <f64>load<f32>(dy + skip + j * 4);
    const shift = <f32>sum;
    for (let j: usize = 0; j < width; j++)
      store<f32>(dx + skip + j * 4, load<f32>(y + skip + j * 4) * (load<f32>(dy + skip + j * 4) - shift));
  }
}

/** Sums of columns over all `rows` in f64, four columns at a time, of which `[first, last)` are computed. */
export function sumColumns(x: usize, rows: usize, width: usize, out: usize, first: usize, last: usize, worker: usize): void {
  for (let part = first; part < last; part++) {
    const column = part * 4;
    if (column + 4 <= width) {
      let low = f64x2.splat(0), high = low;
      let from = x + column * 4;
      for (let row: usize = 0; row < rows; row++, from += width * 4) {
        const v = v128.load(from);
        low = f64x2.add(low, f64x2.promote_low_f32x4(v));
        high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<i32>(v, v, 2, 3, 2, 3)));
      }
      v128.store(out + column * 4, v128.shuffle<i32>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 1, 4, 5));
      continue;
    }
    for (let j = column; j < width; j++) {
      let sum: f64 = 0;
      for (let row: usize = 0; row < rows; row++) sum += load<f32>(x + (row * width + j) * 4);
      store<f32>(out + j * 4, <f32>sum);
    }
  }
}
