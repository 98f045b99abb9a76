import { exp4 } from './exp';
import { madd } from './madd';

/**
 * `norm * ln e` of four values above 0, with an error of about 1e-6 in the power. e = m 2^n with m from 0.707 to 1.414,
 * and ln m = 2 artanh((m - 1) / (m + 1)), by its series up to the ninth power.
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

/** |x - q(x)|, where q has steps of `factor`; all in units of the whole scale. */
// @ts-expect-error: decorator
@inline
function distance(x: v128, factor: v128, inverse: v128, lowest: v128, highest: v128): v128 {
  const q = f32x4.nearest(f32x4.min(highest, f32x4.max(lowest, f32x4.mul(x, inverse))));
  return f32x4.abs(f32x4.sub(x, f32x4.mul(q, factor)));
}

/** e^norm. Errors below 2^-30 count as 2^-30, because the logarithm must not get a denormal. */
// @ts-expect-error: decorator
@inline
function power(e: v128, norm: v128): v128 {
  return exp4(f32x4.mul(norm, ln4(f32x4.max(e, f32x4.splat(9.3132257e-10)))));
}

// @ts-expect-error: decorator
@inline
function total(v: v128): f32 {
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3);
}

/** Weighted sum of squared distances. */
function squares(x: usize, w: usize, count: usize, f: f32, low: v128, high: v128): f32 {
  const factor = f32x4.splat(f), inverse = f32x4.splat(1 / f);
  let sum = f32x4.splat(0);
  for (let j: usize = 0; j < count; j += 4) {
    const e = distance(v128.load(x + j * 4), factor, inverse, low, high);
    sum = madd(f32x4.mul(v128.load(w + j * 4), e), e, sum);
  }
  return total(sum);
}

/** Weighted sum of distances to a power. It checks the sum every 32 values and ends once the sum is above `limit`. */
function powers(x: usize, w: usize, count: usize, f: f32, low: v128, high: v128, norm: v128, limit: f32): f32 {
  const factor = f32x4.splat(f), inverse = f32x4.splat(1 / f);
  let sum = f32x4.splat(0);
  for (let j: usize = 0; j < count; ) {
    const stop = min(count, j + 32);
    for (; j < stop; j += 4)
      sum = madd(v128.load(w + j * 4), power(distance(v128.load(x + j * 4), factor, inverse, low, high), norm), sum);
    if (total(sum) > limit) break;
  }
  return total(sum);
}

/**
 * For groups `[first, last)` and each of `count` factors, the weighted sum of errors of the range times the factor, in
 * f32. A sum above `tolerance` times the best one becomes infinity. For a power of 2 or more, the squares are computed
 * first: by the inequality of power means `sum w e^p >= W (sum w e^2 / W)^(p/2)` with W the sum of the weights, which
 * excludes most factors. `scratch`: memory for a group of values and one of weights a thread, in whole vectors.
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
  const padded = (size + 3) & ~3;
  const x = scratch + worker * padded * 8;
  const w = x + padded * 4;
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
    let mass: f32 = 0;
    for (let j: usize = 0; j < padded; j++) {
      const inside = j < width;
      const weight: f32 = !inside ? 0 : importance ? load<f32>(importance + (left + j) * 4) : 1;
      mass += weight;
      store<f32>(x + j * 4, inside ? load<f32>(from + j * 4) / scale : 0);
      store<f32>(w + j * 4, weight);
    }
    const middle = load<f32>(zeros + g * 4);
    const low = f32x4.splat(lowest - middle), high = f32x4.splat(highest - middle);
    let best: f32 = Infinity;
    if (norm >= 2) {
      let likely: usize = 0;
      for (let i: usize = 0; i < count; i++) {
        const sum = squares(x, w, padded, load<f32>(factors + i * 4), low, high);
        store<f32>(sums + i * 4, sum);
        if (sum < load<f32>(sums + likely * 4)) likely = i;
      }
      if (norm == 2) continue;
      best = powers(x, w, padded, load<f32>(factors + likely * 4), low, high, exponent, best);
      // A factor whose sum of squares is at least this is excluded.
      const power = f32x4.splat(<f32>2 / norm);
      const ruledOut = mass * f32x4.extract_lane(exp4(f32x4.mul(power, ln4(f32x4.splat((best * tolerance) / mass)))), 0) * 1.001;
      for (let i: usize = 0; i < count; i++) if (load<f32>(sums + i * 4) > ruledOut) store<f32>(sums + i * 4, Infinity);
    } else for (let i: usize = 0; i < count; i++) store<f32>(sums + i * 4, 0);
    for (let i: usize = 0; i < count; i++) {
      if (load<f32>(sums + i * 4) == Infinity) continue;
      const sum = powers(x, w, padded, load<f32>(factors + i * 4), low, high, exponent, best * tolerance);
      if (sum < best) best = sum;
      store<f32>(sums + i * 4, sum > best * tolerance ? Infinity : sum);
    }
  }
}
