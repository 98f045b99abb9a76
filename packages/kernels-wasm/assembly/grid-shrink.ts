import { exp4 } from './exp';
import { madd } from './madd';

/**
 * `norm * ln e` of four values above 0, to about 1e-6 of what its power becomes: e = m 2^n with m from 0.707 to 1.414, and
 * ln m = 2 artanh((m - 1) / (m + 1)) by its series up to the ninth power.
 */
// @ts-expect-error: decorator
@inline
function ln4(e: v128): v128 {
  const bits = i32x4.sub(e, i32x4.splat(0x3f3504f3));
  const n = i32x4.shr_s(bits, 23);
  const m = i32x4.sub(e, i32x4.shl(n, 23));
  const one = f32x4.splat(1);
  const t = f32x4.div(f32x4.sub(m, one), f32x4.add(m, one));
  const t2 = f32x4.mul(t, t);
  let p = f32x4.splat(<f32>(2.0 / 9));
  p = madd(p, t2, f32x4.splat(<f32>(2.0 / 7)));
  p = madd(p, t2, f32x4.splat(<f32>(2.0 / 5)));
  p = madd(p, t2, f32x4.splat(<f32>(2.0 / 3)));
  p = madd(p, t2, f32x4.splat(2));
  return madd(f32x4.convert_i32x4_s(n), f32x4.splat(0.69314718), f32x4.mul(p, t));
}

/** |x - q(x)|^norm where x is counted in steps of `factor`; x and the result in units of the whole scale. */
// @ts-expect-error: decorator
@inline
function power(x: v128, factor: v128, inverse: v128, lowest: v128, highest: v128, norm: v128, square: bool): v128 {
  const q = f32x4.nearest(f32x4.min(highest, f32x4.max(lowest, f32x4.mul(x, inverse))));
  const e = f32x4.abs(f32x4.sub(x, f32x4.mul(q, factor)));
  if (square) return f32x4.mul(e, e);
  // Below 2^-30 an error is as good as none; it must not be a denormal.
  return exp4(f32x4.mul(norm, ln4(f32x4.max(e, f32x4.splat(9.3132257e-10)))));
}

/**
 * For groups `[first, last)` and each of `count` factors the weighted sum of errors of the range shrunk by it, in f32. What is
 * above `tolerance` times the best sum so far is left at infinity, looked at after every 32 values.
 * `scratch`: room for a group of values a thread, `size + 4` of them.
 */
export function shrinkGroups(
  values: usize,
  columns: usize,
  size: usize,
  groups: usize,
  importance: usize,
  scales: usize,
  zeros: usize,
  lowest: f32,
  highest: f32,
  factors: usize,
  count: usize,
  norm: f32,
  tolerance: f32,
  scratch: usize,
  errors: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const exponent = f32x4.splat(norm);
  const square = norm == 2;
  const room = (size + 3) & ~3;
  const x = scratch + worker * room * 8;
  const w = x + room * 4;
  for (let g = first; g < last; g++) {
    const left = (g % groups) * size;
    const from = values + ((g / groups) * columns + left) * 4;
    const width = min(size, columns - left);
    const padded = (width + 3) & ~3;
    const scale = load<f32>(scales + g * 4);
    const sums = errors + g * count * 4;
    if (scale == 0) {
      memory.fill(sums, 0, count * 4);
      continue;
    }
    for (let j: usize = 0; j < padded; j++) {
      const inside = j < width;
      store<f32>(x + j * 4, inside ? load<f32>(from + j * 4) / scale : 0);
      store<f32>(w + j * 4, !inside ? 0 : importance ? load<f32>(importance + (left + j) * 4) : 1);
    }
    const middle = load<f32>(zeros + g * 4);
    const low = f32x4.splat(lowest - middle), high = f32x4.splat(highest - middle);
    let best: f32 = Infinity;
    for (let i: usize = 0; i < count; i++) {
      const f = load<f32>(factors + i * 4);
      const factor = f32x4.splat(f), inverse = f32x4.splat(1 / f);
      let total = f32x4.splat(0);
      let sum: f32 = 0;
      for (let j: usize = 0; j < padded; ) {
        const stop = min(padded, j + 32);
        for (; j < stop; j += 4)
          total = madd(v128.load(w + j * 4), power(v128.load(x + j * 4), factor, inverse, low, high, exponent, square), total);
        sum = f32x4.extract_lane(total, 0) + f32x4.extract_lane(total, 1) + f32x4.extract_lane(total, 2) + f32x4.extract_lane(total, 3);
        if (sum > best * tolerance) break;
      }
      if (sum < best) best = sum;
      store<f32>(sums + i * 4, sum > best * tolerance ? Infinity : sum);
    }
  }
}
