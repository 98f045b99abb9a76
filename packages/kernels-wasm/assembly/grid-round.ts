// Groups are numbered row by row: group g is columns [k * size, k * size + size) of row g / groups, k = g % groups.

/**
 * For groups `[first, last)` the first value of largest magnitude and the outermost one on the other side of zero.
 * Pseudo-minima and -maxima keep what they have where they meet NaN.
 */
export function groupExtremes(values: usize, columns: usize, size: usize, groups: usize, pairs: usize, first: usize, last: usize, worker: usize): void {
  for (let g = first; g < last; g++) {
    const left = (g % groups) * size;
    const from = values + ((g / groups) * columns + left) * 4;
    const to = from + min(size, columns - left) * 4;
    let low = f32x4.splat(0), high = low;
    let at = from;
    for (; at + 16 <= to; at += 16) {
      const x = v128.load(at);
      low = f32x4.pmin(low, x);
      high = f32x4.pmax(high, x);
    }
    let bottom = min(min(f32x4.extract_lane(low, 0), f32x4.extract_lane(low, 1)), min(f32x4.extract_lane(low, 2), f32x4.extract_lane(low, 3)));
    let top = max(max(f32x4.extract_lane(high, 0), f32x4.extract_lane(high, 1)), max(f32x4.extract_lane(high, 2), f32x4.extract_lane(high, 3)));
    for (; at < to; at += 4) {
      const x = load<f32>(at);
      if (x < bottom) bottom = x;
      if (x > top) top = x;
    }
    let negativeFirst = -bottom > top;
    if (-bottom == top && top > 0) {
      for (at = from; at < to; at += 4) {
        const x = load<f32>(at);
        if (x == bottom || x == top) {
          negativeFirst = x < 0;
          break;
        }
      }
    }
    store<f32>(pairs + g * 8, negativeFirst ? bottom : top);
    store<f32>(pairs + g * 8, negativeFirst ? top : bottom, 4);
  }
}

// @ts-expect-error: decorator
@inline
function code(pair: v128, scale: v128, zero: v128, lowest: v128, highest: v128): v128 {
  const x = f64x2.add(f64x2.div(pair, scale), zero);
  return f64x2.sub(f64x2.nearest(f64x2.pmin(highest, f64x2.pmax(lowest, x))), lowest);
}

/**
 * Codes of groups `[first, last)`. `x / scale + zero` is clamped, rounded half to even and counted from `lowest` in f64, as
 * the reference does it. `finite[worker]` becomes NaN when a value is not finite.
 */
export function roundGroups(
  values: usize,
  columns: usize,
  size: usize,
  groups: usize,
  scales: usize,
  zeros: usize,
  codes: usize,
  lowest: f64,
  highest: f64,
  finite: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const least = f64x2.splat(lowest), most = f64x2.splat(highest);
  let odd = f32x4.splat(0);
  let rest: f32 = 0;
  for (let g = first; g < last; g++) {
    const left = (g % groups) * size;
    const start = (g / groups) * columns + left;
    const count = min(size, columns - left);
    const from = values + start * 4;
    const to = codes + start;
    const step = <f64>load<f32>(scales + g * 4);
    const middle = <f64>load<f32>(zeros + g * 4);
    const scale = f64x2.splat(step), zero = f64x2.splat(middle);
    let j: usize = 0;
    for (; j + 8 <= count; j += 8) {
      const x = v128.load(from + j * 4), y = v128.load(from + j * 4, 16);
      odd = f32x4.add(odd, f32x4.add(f32x4.sub(x, x), f32x4.sub(y, y)));
      const a = code(f64x2.promote_low_f32x4(x), scale, zero, least, most);
      const b = code(f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3)), scale, zero, least, most);
      const c = code(f64x2.promote_low_f32x4(y), scale, zero, least, most);
      const d = code(f64x2.promote_low_f32x4(v128.shuffle<f32>(y, y, 2, 3, 2, 3)), scale, zero, least, most);
      // Whole numbers below 2^32 are whole in the low word once 2^52 is added.
      const magic = f64x2.splat(4503599627370496);
      const ab = v128.shuffle<i32>(f64x2.add(a, magic), f64x2.add(b, magic), 0, 2, 4, 6);
      const cd = v128.shuffle<i32>(f64x2.add(c, magic), f64x2.add(d, magic), 0, 2, 4, 6);
      const words = i16x8.narrow_i32x4_s(ab, cd);
      v128.store64_lane(to + j, i8x16.narrow_i16x8_u(words, words), 0);
    }
    for (; j < count; j++) {
      const x = load<f32>(from + j * 4);
      rest += x - x;
      const v = <f64>x / step + middle;
      store<u8>(to + j, <u8>(nearest(v < lowest ? lowest : v > highest ? highest : v) - lowest));
    }
  }
  const sum = f32x4.extract_lane(odd, 0) + f32x4.extract_lane(odd, 1) + f32x4.extract_lane(odd, 2) + f32x4.extract_lane(odd, 3) + rest;
  store<f32>(finite + worker * 4, load<f32>(finite + worker * 4) + sum);
}
