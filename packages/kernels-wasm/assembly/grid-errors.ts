// @ts-expect-error: decorator
@inline
function difference(x: v128, low: v128, high: v128, zero: v128, scale: v128): v128 {
  const first = f32x4.demote_f64x2_zero(f64x2.mul(f64x2.sub(low, zero), scale));
  const second = f32x4.demote_f64x2_zero(f64x2.mul(f64x2.sub(high, zero), scale));
  return f32x4.sub(x, v128.shuffle<i64>(first, second, 0, 2));
}

/**
 * For groups `[first, last)` the sum of squared rounding errors, and the sum of squared values. Differences are f32, as
 * the grid values are; squares and sums are f64.
 */
export function squaredErrors(
  values: usize,
  columns: usize,
  size: usize,
  groups: usize,
  scales: usize,
  zeros: usize,
  codes: usize,
  lowest: f64,
  sums: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  for (let g = first; g < last; g++) {
    const left = (g % groups) * size;
    const start = (g / groups) * columns + left;
    const count = min(size, columns - left);
    const from = values + start * 4;
    const own = codes + start;
    const step = <f64>load<f32>(scales + g * 4);
    // The level of a code is `code + lowest`; both are integers.
    const middle = <f64>load<f32>(zeros + g * 4) - lowest;
    const scale = f64x2.splat(step), zero = f64x2.splat(middle);
    let error = f64x2.splat(0), errorToo = error, energy = error, energyToo = error;
    let j: usize = 0;
    for (; j + 4 <= count; j += 4) {
      const x = v128.load(from + j * 4);
      const code = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(own + j)));
      const d = difference(x, f64x2.convert_low_i32x4_u(code), f64x2.convert_low_i32x4_u(v128.shuffle<i32>(code, code, 2, 3, 2, 3)), zero, scale);
      const a = f64x2.promote_low_f32x4(d), b = f64x2.promote_low_f32x4(v128.shuffle<f32>(d, d, 2, 3, 2, 3));
      const u = f64x2.promote_low_f32x4(x), v = f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3));
      error = f64x2.add(error, f64x2.mul(a, a));
      errorToo = f64x2.add(errorToo, f64x2.mul(b, b));
      energy = f64x2.add(energy, f64x2.mul(u, u));
      energyToo = f64x2.add(energyToo, f64x2.mul(v, v));
    }
    error = f64x2.add(error, errorToo);
    energy = f64x2.add(energy, energyToo);
    let sum = f64x2.extract_lane(error, 0) + f64x2.extract_lane(error, 1);
    let whole = f64x2.extract_lane(energy, 0) + f64x2.extract_lane(energy, 1);
    for (; j < count; j++) {
      const x = load<f32>(from + j * 4);
      const d = <f64>(x - <f32>((<f64>load<u8>(own + j) - middle) * step));
      sum += d * d;
      whole += <f64>x * <f64>x;
    }
    store<f64>(sums + g * 16, sum);
    store<f64>(sums + g * 16, whole, 8);
  }
}
