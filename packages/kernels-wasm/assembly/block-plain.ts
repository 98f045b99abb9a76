import { blockBuffer, floatsOf, narrowed, putScale } from './block-source';

/** The first of 32 values with the largest magnitude. */
function largest(x: usize): f32 {
  let low = f32x4.splat(0), high = low;
  for (let i: usize = 0; i < 128; i += 16) {
    const v = v128.load(x + i);
    low = f32x4.pmin(low, v);
    high = f32x4.pmax(high, v);
  }
  low = f32x4.pmin(low, v128.shuffle<f32>(low, low, 2, 3, 0, 1));
  high = f32x4.pmax(high, v128.shuffle<f32>(high, high, 2, 3, 0, 1));
  const bottom = f32x4.extract_lane(f32x4.pmin(low, v128.shuffle<f32>(low, low, 1, 0, 3, 2)), 0);
  const top = f32x4.extract_lane(f32x4.pmax(high, v128.shuffle<f32>(high, high, 1, 0, 3, 2)), 0);
  if (-bottom != top) return -bottom > top ? bottom : top;
  for (let i: usize = 0; i < 128 && top > 0; i += 4) if (abs(load<f32>(x + i)) == top) return load<f32>(x + i);
  return top;
}

// @ts-expect-error: decorator
@inline
function codesOfFour(x: usize, inverse: v128): v128 {
  const y = f32x4.add(f32x4.mul(v128.load(x), inverse), f32x4.splat(8.5));
  return i32x4.min_s(i32x4.trunc_sat_f32x4_s(y), i32x4.splat(15));
}

// @ts-expect-error: decorator
@inline
function codesOfSixteen(x: usize, inverse: v128): v128 {
  return narrowed(codesOfFour(x, inverse), codesOfFour(x + 16, inverse), codesOfFour(x + 32, inverse), codesOfFour(x + 48, inverse));
}

/** Blocks `[first, last)` of Q4_0 (docs/reference/file-formats.md#block-layouts-of-gguf). */
export function encodeQ4_0(source: usize, kind: i32, scratch: usize, odd: usize, out: usize, first: usize, last: usize, worker: usize): void {
  const buffer = scratch + worker * blockBuffer;
  for (let block = first; block < last; block++) {
    const x = floatsOf(source, kind, block * 32, 32, buffer, odd, worker);
    const to = out + block * 18;
    const d = largest(x) / -8;
    putScale(to, d, odd, worker);
    const inverse: f32 = d == 0 ? 0 : 1 / d;
    // A scale without a reciprocal is stored as zero, and its codes have no effect.
    if (abs(inverse) == Infinity) {
      v128.store(to, i32x4.splat(0), 2);
      continue;
    }
    const factor = f32x4.splat(inverse);
    v128.store(to, v128.or(codesOfSixteen(x, factor), i8x16.shl(codesOfSixteen(x + 64, factor), 4)), 2);
  }
}

/** Rounds halves away from zero. The distance to the truncated value is exact, so no value is rounded twice. */
// @ts-expect-error: decorator
@inline
function roundedFour(x: usize, inverse: v128): v128 {
  const y = f32x4.mul(v128.load(x), inverse);
  const cut = f32x4.trunc(y);
  const far = f32x4.ge(f32x4.abs(f32x4.sub(y, cut)), f32x4.splat(0.5));
  const step = v128.or(v128.and(y, i32x4.splat(0x80000000)), f32x4.splat(1));
  return i32x4.trunc_sat_f32x4_s(f32x4.add(cut, v128.and(far, step)));
}

// @ts-expect-error: decorator
@inline
function roundedSixteen(x: usize, inverse: v128): v128 {
  const a = i16x8.narrow_i32x4_s(roundedFour(x, inverse), roundedFour(x + 16, inverse));
  const b = i16x8.narrow_i32x4_s(roundedFour(x + 32, inverse), roundedFour(x + 48, inverse));
  return i8x16.narrow_i16x8_s(a, b);
}

/** Blocks `[first, last)` of Q8_0 (docs/reference/file-formats.md#block-layouts-of-gguf). */
export function encodeQ8_0(source: usize, kind: i32, scratch: usize, odd: usize, out: usize, first: usize, last: usize, worker: usize): void {
  const buffer = scratch + worker * blockBuffer;
  for (let block = first; block < last; block++) {
    const x = floatsOf(source, kind, block * 32, 32, buffer, odd, worker);
    const to = out + block * 34;
    const d = abs(largest(x)) / 127;
    putScale(to, d, odd, worker);
    let inverse: f32 = d == 0 ? 0 : 1 / d;
    if (inverse == Infinity) inverse = 0;
    const factor = f32x4.splat(inverse);
    v128.store(to, roundedSixteen(x, factor), 2);
    v128.store(to, roundedSixteen(x + 64, factor), 18);
  }
}
