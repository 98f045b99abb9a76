// Q6_K. Sixteen groups of 16 values are fitted four at a time, one in each lane. Every lane sums in index order with
// f32 roundings, as the reference does, and no product is fused with a sum.
import { blockBuffer, codeValues, floatsOf, liftedCodes, narrowed, nearestInt, putScale } from './block-source';

// Offsets in a thread's buffer.
const xAt: usize = 1024;
const codesAt: usize = 2048;
const scalesAt: usize = 2304;
/** Factor from which the codes of the fit are computed if they are needed; NaN: all codes are the lowest. */
const inverseAt: usize = 2368;
const leastMagnitude: f32 = 1e-15;

/** Writes values of four groups `[4, 16]` as `[16, 4]`. */
function transpose(from: usize, to: usize): void {
  for (let i: usize = 0; i < 64; i += 16) {
    const a = v128.load(from + i), b = v128.load(from + i, 64), c = v128.load(from + i, 128), d = v128.load(from + i, 192);
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
    const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    v128.store(to + i * 4, v128.shuffle<i64>(ab, cd, 0, 2));
    v128.store(to + i * 4, v128.shuffle<i64>(ab, cd, 1, 3), 16);
    v128.store(to + i * 4, v128.shuffle<i64>(ef, gh, 0, 2), 32);
    v128.store(to + i * 4, v128.shuffle<i64>(ef, gh, 1, 3), 48);
  }
}

/** The weighted scale fit of docs/reference/file-formats.md#searches-of-gguf (qx of type 1) of four groups. */
function fitGroups(x: usize, scales: usize, inverses: usize): void {
  const zero = f32x4.splat(0);
  const low = i32x4.splat(0x400000 - 32), high = i32x4.splat(0x400000 + 31);
  let largest = zero, magnitude = zero;
  for (let i: usize = 0; i < 256; i += 16) {
    const v = v128.load(x + i);
    const larger = f32x4.gt(f32x4.abs(v), magnitude);
    largest = v128.bitselect(v, largest, larger);
    magnitude = v128.bitselect(f32x4.abs(v), magnitude, larger);
  }
  let scale = zero, best = zero, chosen = zero;
  for (let turn = 0; turn < 19; turn++) {
    // The plain range is first; then come the ranges with -9 to 9 tenths more.
    const tenths = turn == 0 ? 0 : turn < 10 ? turn - 10 : turn - 9;
    const inverse = f32x4.div(f32x4.splat(-<f32>(<f32>32 + <f32>(<f32>0.1 * <f32>tenths))), largest);
    let xl = zero, ll = zero;
    for (let i: usize = 0; i < 256; i += 16) {
      const v = v128.load(x + i);
      const code = codeValues(liftedCodes(f32x4.mul(inverse, v), low, high));
      const weight = f32x4.mul(v, v);
      xl = f32x4.add(xl, f32x4.mul(f32x4.mul(weight, v), code));
      ll = f32x4.add(ll, f32x4.mul(f32x4.mul(weight, code), code));
    }
    const fitted = v128.and(f32x4.div(xl, ll), f32x4.ne(ll, zero));
    const better = turn == 0
      ? i32x4.splat(-1)
      : v128.and(f32x4.gt(ll, zero), f32x4.gt(f32x4.mul(xl, xl), f32x4.mul(best, ll)));
    scale = v128.bitselect(fitted, scale, better);
    best = v128.bitselect(f32x4.mul(fitted, xl), best, better);
    chosen = v128.bitselect(inverse, chosen, better);
  }
  const nothing = f32x4.lt(magnitude, f32x4.splat(leastMagnitude));
  v128.store(scales, v128.andnot(scale, nothing));
  v128.store(inverses, v128.or(chosen, nothing));
}

/** Codes of a group with the stored scale. If the stored scale is zero, the codes of the fit stay. */
function roundGroup(x: usize, to: usize, d: f32, inverse: f32): void {
  if (d == 0) {
    for (let i: usize = 0; i < 16; i++) {
      const code = inverse != inverse ? -32 : nearestInt(inverse * load<f32>(x + i * 4));
      store<u8>(to + i, <u8>(32 + min(31, max(-32, code))));
    }
    return;
  }
  const low = i32x4.splat(0x400000 - 32), high = i32x4.splat(0x400000 + 31);
  const scale = f32x4.splat(d);
  const a = liftedCodes(f32x4.div(v128.load(x), scale), low, high);
  const b = liftedCodes(f32x4.div(v128.load(x, 16), scale), low, high);
  const c = liftedCodes(f32x4.div(v128.load(x, 32), scale), low, high);
  const e = liftedCodes(f32x4.div(v128.load(x, 48), scale), low, high);
  v128.store(to, narrowed(i32x4.sub(a, low), i32x4.sub(b, low), i32x4.sub(c, low), i32x4.sub(e, low)));
}

function putCodes(codes: usize, to: usize): void {
  const mask = i8x16.splat(15);
  for (let half: usize = 0; half < 2; half++) {
    for (let i: usize = 0; i < 64; i += 16) {
      const at = codes + half * 128 + i;
      v128.store(to + half * 64 + i, v128.or(v128.and(v128.load(at), mask), i8x16.shl(v128.load(at, 64), 4)));
    }
    for (let i: usize = 0; i < 32; i += 16) {
      const at = codes + half * 128 + i;
      const a = i8x16.shr_u(v128.load(at), 4), b = i8x16.shr_u(v128.load(at, 32), 4);
      const c = i8x16.shr_u(v128.load(at, 64), 4), d = i8x16.shr_u(v128.load(at, 96), 4);
      const high = v128.or(v128.or(a, i8x16.shl(b, 2)), v128.or(i8x16.shl(c, 4), i8x16.shl(d, 6)));
      v128.store(to + half * 32 + i, high, 128);
    }
  }
}

/** Super-blocks `[first, last)` of Q6_K (docs/reference/file-formats.md#block-layouts-of-gguf). */
export function encodeQ6_K(source: usize, kind: i32, scratch: usize, odd: usize, out: usize, first: usize, last: usize, worker: usize): void {
  const buffer = scratch + worker * blockBuffer;
  for (let block = first; block < last; block++) {
    const x = floatsOf(source, kind, block * 256, 256, buffer, odd, worker);
    const to = out + block * 210;
    let largest: f32 = 0;
    for (let g: usize = 0; g < 16; g += 4) {
      transpose(x + g * 64, buffer + xAt);
      fitGroups(buffer + xAt, buffer + scalesAt + g * 4, buffer + inverseAt + g * 4);
      for (let k = g; k < g + 4; k++) {
        const scale = load<f32>(buffer + scalesAt + k * 4);
        // Fourth powers of large values overflow.
        if (scale - scale != 0) store<i32>(odd + worker * 4, 1);
        if (abs(scale) > abs(largest)) largest = scale;
      }
    }
    if (abs(largest) < leastMagnitude) {
      memory.fill(to, 0, 210);
      continue;
    }
    const inverse: f32 = -128 / largest;
    const d = putScale(to + 208, 1 / inverse, odd, worker);
    for (let g: usize = 0; g < 16; g++) {
      const scale = <i8>min(127, nearestInt(inverse * load<f32>(buffer + scalesAt + g * 4)));
      store<i8>(to + g, scale, 192);
      roundGroup(x + g * 64, buffer + codesAt + g * 16, d * <f32>scale, load<f32>(buffer + inverseAt + g * 4));
    }
    putCodes(buffer + codesAt, to);
  }
}
