import { exp4 } from './exp';
import { madd } from './madd';

/** Positions that are dequantized at a time: 64 keys of 128 channels are 32 kB. */
const BLOCK: usize = 64;

/** Unpacks eight codes of 3 bits, lowest first, to the bytes of a word in their order. */
// @ts-expect-error: decorator
@inline
function spread3(codes: u64): u64 {
  let x = (codes | (codes << 20)) & 0x00000fff00000fff;
  x = (x | (x << 10)) & 0x003f003f003f003f;
  return (x | (x << 5)) & 0x0707070707070707;
}

/** Unpacks sixteen codes from `at` on to bytes in their order; `bits` is 8, 4, 3 or 2. */
// @ts-expect-error: decorator
@inline
function codes16(at: usize, bits: usize): v128 {
  if (bits == 8) return v128.load(at);
  if (bits == 4) {
    const v = v128.load64_zero(at);
    const odd = v128.and(i16x8.shr_u(v, 4), i8x16.splat(15));
    return v128.shuffle<i8>(v128.and(v, i8x16.splat(15)), odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  if (bits == 3) {
    const word = <u64>load<u32>(at) | (<u64>load<u16>(at, 4) << 32);
    return i64x2.replace_lane(i64x2.splat(<i64>spread3(word & 0xffffff)), 1, <i64>spread3(word >> 24));
  }
  const v = v128.load32_zero(at);
  const mask = i8x16.splat(3);
  const c0 = v128.and(v, mask), c1 = v128.and(i16x8.shr_u(v, 2), mask);
  const c2 = v128.and(i16x8.shr_u(v, 4), mask), c3 = v128.and(i16x8.shr_u(v, 6), mask);
  const low = v128.shuffle<i8>(c0, c1, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const high = v128.shuffle<i8>(c2, c3, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  return v128.shuffle<i16>(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
}

/** Dequantizes four channels of a row. `pairs` are four pairs (scale, zero), or one pair when `shared`. */
// @ts-expect-error: decorator
@inline
function dequantize4(codes: v128, pairs: usize, shared: bool, to: usize): void {
  let scale: v128, zero: v128;
  if (shared) {
    scale = v128.load32_splat(pairs);
    zero = v128.load32_splat(pairs, 4);
  } else {
    const p0 = v128.load(pairs), p1 = v128.load(pairs, 16);
    scale = v128.shuffle<f32>(p0, p1, 0, 2, 4, 6);
    zero = v128.shuffle<f32>(p0, p1, 1, 3, 5, 7);
  }
  v128.store(to, f32x4.mul(f32x4.sub(f32x4.convert_i32x4_u(codes), zero), scale));
}

/**
 * Dequantizes a position's keys or values to f32. Along tokens (`perChannel`) `pairs` has one pair a channel, else one
 * for each `size` channels. A size that is not a multiple of 16 is computed channel by channel.
 */
function dequantizeRow(codes: usize, bits: usize, pairs: usize, perChannel: bool, size: usize, headDim: usize, to: usize): void {
  const shared = !perChannel && size % 16 == 0;
  if (!perChannel && !shared) {
    for (let c: usize = 0; c < headDim; c++) {
      const pair = pairs + c / size * 8;
      // Two bytes are read, because a code of 3 bits may cross from one to the next. Reading after the last byte is
      // safe: the heap goes on there.
      const code = (<u32>load<u16>(codes + (c * bits >> 3)) >> <u32>(c * bits & 7)) & ((1 << <u32>bits) - 1);
      store<f32>(to + c * 4, (<f32>code - load<f32>(pair, 4)) * load<f32>(pair));
    }
    return;
  }
  for (let c: usize = 0; c < headDim; c += 16) {
    const v = codes16(codes + c * bits / 8, bits);
    const low = i16x8.extend_low_i8x16_u(v), high = i16x8.extend_high_i8x16_u(v);
    const step: usize = shared ? 0 : 32;
    const pair = pairs + (shared ? c / size * 8 : c * 8);
    const at = to + c * 4;
    dequantize4(i32x4.extend_low_i16x8_u(low), pair, shared, at);
    dequantize4(i32x4.extend_high_i16x8_u(low), pair + step, shared, at + 16);
    dequantize4(i32x4.extend_low_i16x8_u(high), pair + 2 * step, shared, at + 32);
    dequantize4(i32x4.extend_high_i16x8_u(high), pair + 3 * step, shared, at + 48);
  }
}

/**
 * Writes positions `[base, base + count)` of a head as f32 rows. The first `leading` positions, and those after the packed
 * ones, are copied from the head's unpacked tokens.
 */
function fetch(
  codes: usize, pairs: usize, bits: usize, perChannel: bool, size: usize, unpacked: usize, head: usize,
  capacity: usize, leading: usize, packed: usize, headDim: usize, base: usize, count: usize, to: usize,
): void {
  for (let i: usize = 0; i < count; i++) {
    const position = base + i;
    const row = to + i * headDim * 4;
    if (position < leading || position >= leading + packed) {
      memory.copy(row, unpacked + (position < leading ? position : position - packed) * headDim * 4, headDim * 4);
      continue;
    }
    const inside = position - leading;
    const token = head * capacity + inside;
    const group = perChannel ? (head * ((capacity + size - 1) / size) + inside / size) * headDim : token * (headDim / size);
    dequantizeRow(codes + token * headDim * bits / 8, bits, pairs + group * 8, perChannel, size, headDim, row);
  }
}

/**
 * Attention over a quantized cache for units `[first, last)`. A unit is a head of keys with `together` of the queries
 * that share it. Its keys and values are dequantized 64 positions at a time; the softmax keeps a running maximum and
 * sum. `layout`: bits, per channel and size of the keys, then of the values. `scratch`, for each worker: 128 rows,
 * `together` states (`headDim` sums, maximum, total), and a row of 64 scores. `leading` tokens in f32 are before the packed ones, and `window` after them.
 */
export function kvAttention(
  q: usize, keys: usize, keyPairs: usize, values: usize, valuePairs: usize, unpacked: usize, out: usize, layout: usize,
  tokens: usize, heads: usize, kvHeads: usize, headDim: usize, capacity: usize, packed: usize, leading: usize, window: usize, scale: f32, reach: usize,
  together: usize, scratch: usize, scratchBytes: usize, first: usize, last: usize, worker: usize,
): void {
  const keyBits = load<u32>(layout), keySize = load<u32>(layout, 8), valueBits = load<u32>(layout, 12), valueSize = load<u32>(layout, 20);
  const keyPerChannel = load<u32>(layout, 4) != 0, valuePerChannel = load<u32>(layout, 16) != 0;
  const repeat = heads / kvHeads;
  const queries = tokens * repeat;
  const chunks = (queries + together - 1) / together;
  const rowBytes = headDim * 4;
  const keyRows = scratch + worker * scratchBytes;
  const valueRows = keyRows + BLOCK * rowBytes;
  const scores = valueRows + BLOCK * rowBytes;
  const states = scores + BLOCK * 4;
  const stateBytes = rowBytes + 16;
  const ofHead = (leading + window) * rowBytes;
  const unpackedValues = unpacked + kvHeads * ofHead;
  const length = leading + packed + window;
  for (let unit = first; unit < last; unit++) {
    const head = unit / chunks;
    const begin = unit % chunks * together;
    const end = min(begin + together, queries);
    for (let i = begin; i < end; i++) {
      const state = states + (i - begin) * stateBytes;
      memory.fill(state, 0, stateBytes);
      store<f32>(state + rowBytes, -3e38);
    }
    // Queries are in the order of their tokens: the last query sees the most positions.
    const seen = length - tokens + (end - 1) / repeat + 1;
    // The first query sees the fewest positions. Its first visible position is the lowest of all.
    const sees = length - tokens + begin / repeat + 1;
    const low = (sees - min(sees, reach)) / BLOCK * BLOCK;
    for (let base: usize = low; base < seen; base += BLOCK) {
      const count = min(BLOCK, seen - base);
      const own = head * ofHead;
      fetch(keys, keyPairs, keyBits, keyPerChannel, keySize, unpacked + own, head, capacity, leading, packed, headDim, base, count, keyRows);
      fetch(values, valuePairs, valueBits, valuePerChannel, valueSize, unpackedValues + own, head, capacity, leading, packed, headDim, base, count, valueRows);
      for (let i = begin; i < end; i++) {
        const visible = length - tokens + i / repeat + 1;
        const from = max(base, visible - min(visible, reach));
        const to = min(base + count, visible);
        if (from >= to) continue;
        const skipped = (from - base) * rowBytes;
        const query = q + (i / repeat * heads + head * repeat + i % repeat) * rowBytes;
        block(query, keyRows + skipped, valueRows + skipped, to - from, headDim, scale, scores, states + (i - begin) * stateBytes);
      }
    }
    for (let i = begin; i < end; i++) {
      const state = states + (i - begin) * stateBytes;
      const to = out + (i / repeat * heads + head * repeat + i % repeat) * rowBytes;
      const factor = f32x4.splat(<f32>1 / load<f32>(state + rowBytes, 4));
      for (let c: usize = 0; c < rowBytes; c += 16) v128.store(to + c, f32x4.mul(v128.load(state + c), factor));
    }
  }
}

/**
 * One query and `count` positions: computes scores, their weights and the weighted values, and adds them to the sums of
 * earlier blocks.
 */
function block(query: usize, keys: usize, values: usize, count: usize, headDim: usize, scale: f32, scores: usize, state: usize): void {
  const rowBytes = headDim * 4;
  const before = load<f32>(state + rowBytes);
  let top = before;
  let key = keys;
  for (let i: usize = 0; i < count; i++) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let c: usize = 0; c < rowBytes; c += 64) {
      s0 = madd(v128.load(query + c), v128.load(key + c), s0);
      s1 = madd(v128.load(query + c, 16), v128.load(key + c, 16), s1);
      s2 = madd(v128.load(query + c, 32), v128.load(key + c, 32), s2);
      s3 = madd(v128.load(query + c, 48), v128.load(key + c, 48), s3);
    }
    s0 = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
    s0 = f32x4.add(s0, v128.shuffle<f32>(s0, s0, 2, 3, 0, 1));
    const score = (f32x4.extract_lane(s0, 0) + f32x4.extract_lane(s0, 1)) * scale;
    store<f32>(scores + i * 4, score);
    top = max(top, score);
    key += rowBytes;
  }
  // Scores beyond the end get weight zero.
  for (let i = count; i % 4 != 0; i++) store<f32>(scores + i * 4, -3e38);
  const shift = f32x4.splat(top);
  let sums = f32x4.splat(0);
  for (let i: usize = 0; i < count; i += 4) {
    const s = v128.load(scores + i * 4);
    const e = v128.and(exp4(f32x4.sub(s, shift)), f32x4.gt(s, f32x4.splat(-2.9e38)));
    v128.store(scores + i * 4, e);
    sums = f32x4.add(sums, e);
  }
  const keep = before < -2.9e38 ? <f32>0 : f32x4.extract_lane(exp4(f32x4.splat(before - top)), 0);
  const total = f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1) + f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3);
  store<f32>(state + rowBytes, top);
  store<f32>(state + rowBytes, load<f32>(state + rowBytes, 4) * keep + total, 4);
  const k = f32x4.splat(keep);
  for (let c: usize = 0; c < rowBytes; c += 64) {
    const at = state + c;
    let s0 = f32x4.mul(v128.load(at), k), s1 = f32x4.mul(v128.load(at, 16), k), s2 = f32x4.mul(v128.load(at, 32), k), s3 = f32x4.mul(v128.load(at, 48), k);
    let value = values + c;
    for (let i: usize = 0; i < count; i++) {
      const w = v128.load32_splat(scores + i * 4);
      s0 = madd(w, v128.load(value), s0);
      s1 = madd(w, v128.load(value, 16), s1);
      s2 = madd(w, v128.load(value, 32), s2);
      s3 = madd(w, v128.load(value, 48), s3);
      value += rowBytes;
    }
    v128.store(at, s0);
    v128.store(at, s1, 16);
    v128.store(at, s2, 32);
    v128.store(at, s3, 48);
  }
}
