// Groups are numbered row by row: group g is columns [k * size, k * size + size) of row g / groups, k = g % groups.

/**
 * For groups `[first, last)` the first value of largest magnitude and the outermost value on the other side of zero.
 * Pseudo-minimum and pseudo-maximum keep their first operand if the other one is NaN.
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
    low = f32x4.pmin(low, v128.shuffle<f32>(low, low, 2, 3, 0, 1));
    high = f32x4.pmax(high, v128.shuffle<f32>(high, high, 2, 3, 0, 1));
    let bottom = f32x4.extract_lane(f32x4.pmin(low, v128.shuffle<f32>(low, low, 1, 0, 3, 2)), 0);
    let top = f32x4.extract_lane(f32x4.pmax(high, v128.shuffle<f32>(high, high, 1, 0, 3, 2)), 0);
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

/** Codes of four values, one a word. */
function exactCodes(x: v128, scale: v128, zero: v128, lowest: v128, highest: v128): v128 {
  const a = code(f64x2.promote_low_f32x4(x), scale, zero, lowest, highest);
  const b = code(f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3)), scale, zero, lowest, highest);
  // An integer below 2^32 is in the low word once 2^52 is added.
  const magic = f64x2.splat(4503599627370496);
  return v128.shuffle<i32>(f64x2.add(a, magic), f64x2.add(b, magic), 0, 2, 4, 6);
}

// @ts-expect-error: decorator
@inline
function clamped(x: v128, inverse: v128, shift: v128, bottom: v128, top: v128): v128 {
  return f32x4.pmin(top, f32x4.pmax(bottom, f32x4.add(f32x4.mul(x, inverse), shift)));
}

/** Distances of values from their rounded values. */
// @ts-expect-error: decorator
@inline
function distance(y: v128, rounded: v128, magic: v128): v128 {
  return f32x4.abs(f32x4.sub(y, f32x4.sub(rounded, magic)));
}

/**
 * Codes of groups `[first, last)`. `x / scale + zero` is clamped, rounded half to even and counted from `lowest` in
 * f64, as in the reference. It is computed in f32 if the result is certain to be the same. `finite[worker]` becomes NaN
 * if a value is not finite.
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
  const bottom = f32x4.splat(<f32>lowest), top = f32x4.splat(<f32>highest);
  // Adding 1.5 * 2^23 rounds half to even. The bits then count from those of 1.5 * 2^23.
  const magic = f32x4.splat(12582912), zeroBits = i32x4.splat(0x4b400000 + <i32>lowest);
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
    // A clamped result has an error of at most three roundings of numbers of this size, so f32 can only be wrong this
    // near to a tie. If the step's reciprocal is not normal, every value counts as near to a tie.
    const normal = abs(step) > 1e-30 && abs(step) < 1e30;
    const doubt = f32x4.splat(<f32>(normal ? 0.5 - (abs(lowest) + abs(highest) + 2 * abs(middle) + 1) * 3e-7 : -1));
    const inverse = f32x4.splat(<f32>(1 / step)), shift = f32x4.splat(<f32>middle);
    let j: usize = 0;
    for (; j + 16 <= count; j += 16) {
      const x0 = v128.load(from + j * 4), x1 = v128.load(from + j * 4, 16), x2 = v128.load(from + j * 4, 32), x3 = v128.load(from + j * 4, 48);
      const y0 = clamped(x0, inverse, shift, bottom, top), y1 = clamped(x1, inverse, shift, bottom, top);
      const y2 = clamped(x2, inverse, shift, bottom, top), y3 = clamped(x3, inverse, shift, bottom, top);
      const r0 = f32x4.add(y0, magic), r1 = f32x4.add(y1, magic), r2 = f32x4.add(y2, magic), r3 = f32x4.add(y3, magic);
      const far01 = f32x4.pmax(distance(y0, r0, magic), distance(y1, r1, magic));
      const far23 = f32x4.pmax(distance(y2, r2, magic), distance(y3, r3, magic));
      let c0 = i32x4.sub(r0, zeroBits), c1 = i32x4.sub(r1, zeroBits), c2 = i32x4.sub(r2, zeroBits), c3 = i32x4.sub(r3, zeroBits);
      if (v128.any_true(f32x4.gt(f32x4.pmax(far01, far23), doubt))) {
        c0 = exactCodes(x0, scale, zero, least, most);
        c1 = exactCodes(x1, scale, zero, least, most);
        c2 = exactCodes(x2, scale, zero, least, most);
        c3 = exactCodes(x3, scale, zero, least, most);
      }
      const d01 = f32x4.add(f32x4.sub(x0, x0), f32x4.sub(x1, x1)), d23 = f32x4.add(f32x4.sub(x2, x2), f32x4.sub(x3, x3));
      odd = f32x4.add(odd, f32x4.add(d01, d23));
      v128.store(to + j, i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(c0, c1), i16x8.narrow_i32x4_s(c2, c3)));
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
