// Q4_K and Q5_K. Eight groups of 32 values are fitted at once, one in each lane of two vectors. Every lane sums in
// index order with f32 roundings, as the reference does, and no product is fused with a sum.
import { blockBuffer, codeValues, floatsOf, liftedCodes, narrowed, nearestInt, putScale } from './block-source';

// Offsets in a thread's buffer.
const xAt: usize = 1024;
const weightsAt: usize = 2048;
const trialAt: usize = 3072;
const codesAt: usize = 4096;
const scalesAt: usize = 4352;
const minimaAt: usize = 4384;
/** Range over width, and minimum: the codes of the fit are computed from them if they are needed. */
const inverseAt: usize = 4416;
const baseAt: usize = 4448;

/** Writes values `[8, 32]` as `[32, 8]`. */
function transpose(from: usize, to: usize): void {
  for (let g: usize = 0; g < 8; g += 4) {
    for (let i: usize = 0; i < 32; i += 4) {
      const at = from + g * 128 + i * 4;
      const a = v128.load(at), b = v128.load(at, 128), c = v128.load(at, 256), d = v128.load(at, 384);
      const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
      const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
      const into = to + i * 32 + g * 4;
      v128.store(into, v128.shuffle<i64>(ab, cd, 0, 2));
      v128.store(into, v128.shuffle<i64>(ab, cd, 1, 3), 32);
      v128.store(into, v128.shuffle<i64>(ef, gh, 0, 2), 64);
      v128.store(into, v128.shuffle<i64>(ef, gh, 1, 3), 96);
    }
  }
}

/** Weights `rms + |x|` of four groups. */
function weigh(x: usize, weights: usize): void {
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < 1024; i += 32) {
    const v = v128.load(x + i);
    squares = f32x4.add(squares, f32x4.mul(v, v));
  }
  const rms = f32x4.sqrt(f32x4.mul(squares, f32x4.splat(0.03125)));
  for (let i: usize = 0; i < 1024; i += 32) v128.store(weights + i, f32x4.add(rms, f32x4.abs(v128.load(x + i))));
}

/** Weighted squares of the errors of four groups. */
// @ts-expect-error: decorator
@inline
function squares(sum: v128, x: v128, weight: v128, code: v128, scale: v128, minimum: v128): v128 {
  const off = f32x4.sub(f32x4.add(f32x4.mul(scale, code), minimum), x);
  return f32x4.add(sum, f32x4.mul(weight, f32x4.mul(off, off)));
}

// @ts-expect-error: decorator
@inline
function ratio(range: f32, high: v128, low: v128): v128 {
  return f32x4.div(f32x4.splat(range), f32x4.sub(high, low));
}

/** `(a b - c d) / by` */
// @ts-expect-error: decorator
@inline
function minor(a: v128, b: v128, c: v128, d: v128, by: v128): v128 {
  return f32x4.div(f32x4.sub(f32x4.mul(a, b), f32x4.mul(c, d)), by);
}

/**
 * The weighted affine fit of docs/reference/file-formats.md#searches-of-gguf (qkx2) of eight groups. It writes scales,
 * minima, and the numbers from which codes are computed.
 */
function fitGroups(buffer: usize, last: f32, first: f32, count: i32): void {
  const x = buffer + xAt, weights = buffer + weightsAt, trial = buffer + trialAt;
  const zero = f32x4.splat(0);
  const bottom = i32x4.splat(0x400000), top = i32x4.splat(0x400000 + <i32>last);
  let low0 = v128.load(x), low1 = v128.load(x, 16), high0 = low0, high1 = low1;
  let w0 = zero, w1 = zero, wx0 = zero, wx1 = zero;
  for (let i: usize = 0; i < 1024; i += 32) {
    const x0 = v128.load(x + i), x1 = v128.load(x + i, 16);
    const v0 = v128.load(weights + i), v1 = v128.load(weights + i, 16);
    low0 = f32x4.pmin(low0, x0);
    low1 = f32x4.pmin(low1, x1);
    high0 = f32x4.pmax(high0, x0);
    high1 = f32x4.pmax(high1, x1);
    w0 = f32x4.add(w0, v0);
    w1 = f32x4.add(w1, v1);
    wx0 = f32x4.add(wx0, f32x4.mul(v0, x0));
    wx1 = f32x4.add(wx1, f32x4.mul(v1, x1));
  }
  low0 = f32x4.pmin(low0, zero);
  low1 = f32x4.pmin(low1, zero);
  // A group without a range has infinities here, a scale of zero and codes of zero: 0 times infinity counts as 0.
  let inverse0 = ratio(last, high0, low0), inverse1 = ratio(last, high1, low1);
  let base0 = low0, base1 = low1;
  let scale0 = f32x4.div(f32x4.splat(1), inverse0), scale1 = f32x4.div(f32x4.splat(1), inverse1);
  let best0 = zero, best1 = zero;
  for (let i: usize = 0; i < 1024; i += 32) {
    const x0 = v128.load(x + i), x1 = v128.load(x + i, 16);
    const c0 = codeValues(liftedCodes(f32x4.mul(inverse0, f32x4.sub(x0, low0)), bottom, top));
    const c1 = codeValues(liftedCodes(f32x4.mul(inverse1, f32x4.sub(x1, low1)), bottom, top));
    best0 = squares(best0, x0, v128.load(weights + i), c0, scale0, low0);
    best1 = squares(best1, x1, v128.load(weights + i, 16), c1, scale1, low1);
  }
  for (let step = 0; step <= count; step++) {
    const range = <f32>(<f32>(first + <f32>(<f32>0.1 * <f32>step)) + last);
    const r0 = ratio(range, high0, low0), r1 = ratio(range, high1, low1);
    let l0 = zero, l1 = zero, ll0 = zero, ll1 = zero, xl0 = zero, xl1 = zero;
    for (let i: usize = 0; i < 1024; i += 32) {
      const x0 = v128.load(x + i), x1 = v128.load(x + i, 16);
      const c0 = codeValues(liftedCodes(f32x4.mul(r0, f32x4.sub(x0, low0)), bottom, top));
      const c1 = codeValues(liftedCodes(f32x4.mul(r1, f32x4.sub(x1, low1)), bottom, top));
      const v0 = f32x4.mul(v128.load(weights + i), c0), v1 = f32x4.mul(v128.load(weights + i, 16), c1);
      v128.store(trial + i, c0);
      v128.store(trial + i, c1, 16);
      l0 = f32x4.add(l0, v0);
      l1 = f32x4.add(l1, v1);
      ll0 = f32x4.add(ll0, f32x4.mul(v0, c0));
      ll1 = f32x4.add(ll1, f32x4.mul(v1, c1));
      xl0 = f32x4.add(xl0, f32x4.mul(v0, x0));
      xl1 = f32x4.add(xl1, f32x4.mul(v1, x1));
    }
    const det0 = f32x4.sub(f32x4.mul(w0, ll0), f32x4.mul(l0, l0)), det1 = f32x4.sub(f32x4.mul(w1, ll1), f32x4.mul(l1, l1));
    let m0 = minor(ll0, wx0, l0, xl0, det0), m1 = minor(ll1, wx1, l1, xl1, det1);
    const above0 = f32x4.gt(m0, zero), above1 = f32x4.gt(m1, zero);
    const s0 = v128.bitselect(f32x4.div(xl0, ll0), minor(w0, xl0, wx0, l0, det0), above0);
    const s1 = v128.bitselect(f32x4.div(xl1, ll1), minor(w1, xl1, wx1, l1, det1), above1);
    m0 = v128.andnot(m0, above0);
    m1 = v128.andnot(m1, above1);
    let e0 = zero, e1 = zero;
    for (let i: usize = 0; i < 1024; i += 32) {
      e0 = squares(e0, v128.load(x + i), v128.load(weights + i), v128.load(trial + i), s0, m0);
      e1 = squares(e1, v128.load(x + i, 16), v128.load(weights + i, 16), v128.load(trial + i, 16), s1, m1);
    }
    const better0 = v128.and(f32x4.gt(det0, zero), f32x4.lt(e0, best0));
    const better1 = v128.and(f32x4.gt(det1, zero), f32x4.lt(e1, best1));
    best0 = v128.bitselect(e0, best0, better0);
    best1 = v128.bitselect(e1, best1, better1);
    scale0 = v128.bitselect(s0, scale0, better0);
    scale1 = v128.bitselect(s1, scale1, better1);
    inverse0 = v128.bitselect(r0, inverse0, better0);
    inverse1 = v128.bitselect(r1, inverse1, better1);
    base0 = v128.bitselect(low0, base0, better0);
    base1 = v128.bitselect(low1, base1, better1);
    low0 = v128.bitselect(m0, low0, better0);
    low1 = v128.bitselect(m1, low1, better1);
  }
  v128.store(buffer + scalesAt, scale0);
  v128.store(buffer + scalesAt, scale1, 16);
  v128.store(buffer + minimaAt, f32x4.neg(low0));
  v128.store(buffer + minimaAt, f32x4.neg(low1), 16);
  v128.store(buffer + inverseAt, inverse0);
  v128.store(buffer + inverseAt, inverse1, 16);
  v128.store(buffer + baseAt, base0);
  v128.store(buffer + baseAt, base1, 16);
}

/** 6 bits of the largest scale. For a negative scale, 6 bits of the low byte. */
// @ts-expect-error: decorator
@inline
function sixBits(x: f32): u32 {
  return min<u32>(63, <u32>nearestInt(x) & 255);
}

/** Codes of a group with the stored scale and minimum. If the stored scale is zero, the codes of the fit stay. */
function roundGroup(x: usize, buffer: usize, g: usize, d: f32, m: f32, last: i32): void {
  const to = buffer + codesAt + g * 32;
  if (d == 0) {
    const inverse = load<f32>(buffer + inverseAt + g * 4), base = load<f32>(buffer + baseAt + g * 4);
    for (let i: usize = 0; i < 32; i++)
      store<u8>(to + i, <u8>min(last, max(0, nearestInt(inverse * <f32>(load<f32>(x + i * 4) - base)))));
    return;
  }
  const bottom = i32x4.splat(0x400000), top = i32x4.splat(0x400000 + last);
  const scale = f32x4.splat(d), minimum = f32x4.splat(m);
  for (let i: usize = 0; i < 32; i += 16) {
    const at = x + i * 4;
    const a = liftedCodes(f32x4.div(f32x4.add(v128.load(at), minimum), scale), bottom, top);
    const b = liftedCodes(f32x4.div(f32x4.add(v128.load(at, 16), minimum), scale), bottom, top);
    const c = liftedCodes(f32x4.div(f32x4.add(v128.load(at, 32), minimum), scale), bottom, top);
    const e = liftedCodes(f32x4.div(f32x4.add(v128.load(at, 48), minimum), scale), bottom, top);
    v128.store(
      to + i,
      narrowed(i32x4.sub(a, bottom), i32x4.sub(b, bottom), i32x4.sub(c, bottom), i32x4.sub(e, bottom)),
    );
  }
}

function superBlock(x: usize, buffer: usize, to: usize, last: f32, first: f32, count: i32, odd: usize, worker: usize): void {
  transpose(x, buffer + xAt);
  weigh(buffer + xAt, buffer + weightsAt);
  weigh(buffer + xAt + 16, buffer + weightsAt + 16);
  fitGroups(buffer, last, first, count);
  let largestScale: f32 = 0, largestMinimum: f32 = 0;
  for (let g: usize = 0; g < 32; g += 4) {
    const scale = load<f32>(buffer + scalesAt + g), minimum = load<f32>(buffer + minimaAt + g);
    if (scale > largestScale) largestScale = scale;
    if (minimum > largestMinimum) largestMinimum = minimum;
  }
  const inverseScale: f32 = largestScale > 0 ? 63 / largestScale : 0;
  const inverseMinimum: f32 = largestMinimum > 0 ? 63 / largestMinimum : 0;
  const d = putScale(to, largestScale / 63, odd, worker);
  const dmin = putScale(to + 2, largestMinimum / 63, odd, worker);
  for (let g: usize = 0; g < 8; g++) {
    const scale = sixBits(inverseScale * load<f32>(buffer + scalesAt + g * 4));
    const minimum = sixBits(inverseMinimum * load<f32>(buffer + minimaAt + g * 4));
    const at = to + 4 + g;
    if (g < 4) {
      store<u8>(at, <u8>scale);
      store<u8>(at, <u8>minimum, 4);
    } else {
      store<u8>(at, <u8>((scale & 15) | ((minimum & 15) << 4)), 4);
      store<u8>(at - 4, <u8>(load<u8>(at - 4) | ((scale >> 4) << 6)));
      store<u8>(at, <u8>(load<u8>(at) | ((minimum >> 4) << 6)));
    }
    roundGroup(x + g * 128, buffer, g, d * <f32>scale, dmin * <f32>minimum, <i32>last);
  }
}

/** Writes the low halves of the codes of each two groups. */
function putLow(codes: usize, to: usize): void {
  const mask = i8x16.splat(15);
  for (let pair: usize = 0; pair < 4; pair++) {
    for (let i: usize = 0; i < 32; i += 16) {
      const at = codes + pair * 64 + i;
      const low = v128.and(v128.load(at), mask), high = i8x16.shl(v128.load(at, 32), 4);
      v128.store(to + pair * 32 + i, v128.or(low, high));
    }
  }
}

/** Super-blocks `[first, last)` of Q4_K (docs/reference/file-formats.md#block-layouts-of-gguf). */
export function encodeQ4_K(source: usize, kind: i32, scratch: usize, odd: usize, out: usize, first: usize, last: usize, worker: usize): void {
  const buffer = scratch + worker * blockBuffer;
  for (let block = first; block < last; block++) {
    const x = floatsOf(source, kind, block * 256, 256, buffer, odd, worker);
    const to = out + block * 144;
    superBlock(x, buffer, to, 15, -1, 20, odd, worker);
    putLow(buffer + codesAt, to + 16);
  }
}

/** Super-blocks `[first, last)` of Q5_K (docs/reference/file-formats.md#block-layouts-of-gguf). */
export function encodeQ5_K(source: usize, kind: i32, scratch: usize, odd: usize, out: usize, first: usize, last: usize, worker: usize): void {
  const buffer = scratch + worker * blockBuffer;
  const codes = buffer + codesAt;
  for (let block = first; block < last; block++) {
    const x = floatsOf(source, kind, block * 256, 256, buffer, odd, worker);
    const to = out + block * 176;
    superBlock(x, buffer, to, 31, -0.5, 15, odd, worker);
    putLow(codes, to + 48);
    for (let i: usize = 0; i < 32; i += 16) {
      let fifths = i32x4.splat(0);
      for (let g: i32 = 0; g < 8; g++)
        fifths = v128.or(fifths, i8x16.shl(i8x16.shr_u(v128.load(codes + <usize>g * 32 + i), 4), g));
      v128.store(to + i, fifths, 16);
    }
  }
}
