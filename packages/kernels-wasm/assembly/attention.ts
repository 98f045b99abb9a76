import { exp4, tanh4 } from './exp';
import { MR, NR, micro, packPanel4, packPanel8, turn } from './matmul';

/** Far below every score, and still finite. */
export const hidden: f32 = -1e30;

/**
 * Softmax attention for the pairs of sequence and head `[first, last)`. `q`, `out`: `[batch, asked, heads*headDim]`.
 * `k`, `v`: `[batch, length, kvHeads*headDim]`. The queries are the last `asked` of the `length` tokens. Eight queries
 * are computed at a time, with scores as `[key][8 queries]`: the softmax runs over lanes, and both products are tiles
 * of the matrix product. Keys at more than `ahead` positions after a query (0: causal), or at `window` or more
 * positions before it (0: no window), are not computed. `bias` `[heads, asked, length]` (0: none) is added to the
 * scores; then scores are limited to `cap` (0: no limit). `sinks` has one score a head that takes part in the softmax
 * and has no value (0: none). `scratch`: `scratchBytes` for each worker.
 */
export function attentionHeads(
  q: usize,
  k: usize,
  v: usize,
  out: usize,
  asked: usize,
  length: usize,
  heads: usize,
  kvHeads: usize,
  headDim: usize,
  scale: f32,
  window: usize,
  ahead: usize,
  bias: usize,
  cap: f32,
  sinks: usize,
  scratch: usize,
  scratchBytes: usize,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const keys = (length + 7) / 8 * 8;
  const dims = (headDim + 3) / 4 * 4;
  const keyPanels = scratch + worker * scratchBytes;
  const valuePanels = keyPanels + keys * headDim * 4;
  const query = valuePanels + dims * length * 4;
  const scores = query + headDim * 32;
  const mixed = scores + keys * 32;
  const qStride = heads * headDim;
  const kStride = kvHeads * headDim;
  const repeat = heads / kvHeads;
  const past = length - asked;
  for (let unit = first; unit < last; unit++) {
    const batch = unit / heads;
    const head = unit % heads;
    const qHead = q + (batch * asked * qStride + head * headDim) * 4;
    const outHead = out + (batch * asked * qStride + head * headDim) * 4;
    const shared = (batch * length * kStride + head / repeat * headDim) * 4;
    for (let key: usize = 0; key < length; key += MR)
      packPanel4(k + shared + key * kStride * 4, kStride, 1, min(MR, length - key), headDim, keyPanels + key * headDim * 4);
    for (let dim: usize = 0; dim < headDim; dim += MR)
      packPanel4(v + shared + dim * 4, 1, kStride, min(MR, headDim - dim), length, valuePanels + dim * length * 4);
    for (let start: usize = 0; start < asked; start += NR) {
      const queries = min(NR, asked - start);
      const position = past + start;
      const end = min(length, position + queries + ahead);
      const begin = window > 0 && position + 1 > window ? (position + 1 - window) & ~3 : 0;
      packPanel8(qHead + start * qStride * 4, 1, qStride, queries, headDim, query);
      for (let at: usize = 0; at < headDim * 32; at += 16) v128.store(query + at, f32x4.mul(v128.load(query + at), f32x4.splat(scale)));
      for (let key = begin; key < end; key += MR) micro(keyPanels + key * headDim * 4, query, scores + key * 32, 32, headDim, 0, false);
      if (bias > 0) addBias(bias + (head * asked + start) * length * 4, length, queries, begin, end, scores);
      if (cap > 0) capScores(scores, begin, end, cap, 0);
      softmax(scores, position, begin, end, window, ahead, sinks > 0 ? load<f32>(sinks + head * 4) : hidden, mixed);
      const factor0 = v128.load(mixed), factor1 = v128.load(mixed, 16);
      for (let dim: usize = 0; dim < headDim; dim += MR) {
        micro(valuePanels + (dim * length + begin * MR) * 4, scores + begin * 32, mixed, 32, end - begin, 0, false);
        for (let at: usize = 0; at < 128; at += 32) {
          v128.store(mixed + at, f32x4.mul(v128.load(mixed + at), factor0));
          v128.store(mixed + at, f32x4.mul(v128.load(mixed + at, 16), factor1), 16);
        }
        const to = outHead + (start * qStride + dim) * 4;
        if (queries == NR && dim + MR <= headDim) {
          turn(mixed, 32, to, qStride * 4);
          turn(mixed + 16, 32, to + qStride * 16, qStride * 4);
        } else {
          const width = min(MR, headDim - dim);
          for (let i: usize = 0; i < queries; i++)
            for (let j: usize = 0; j < width; j++) store<f32>(to + (i * qStride + j) * 4, load<f32>(mixed + (j * NR + i) * 4));
        }
      }
    }
  }
}

/** Adds rows of a bias, `length` values apart, to the scores of eight queries. */
export function addBias(bias: usize, length: usize, queries: usize, begin: usize, end: usize, scores: usize): void {
  for (let i: usize = 0; i < queries; i++) {
    const row = bias + i * length * 4;
    for (let key = begin; key < end; key++) {
      const at = scores + key * 32 + i * 4;
      store<f32>(at, load<f32>(at) + load<f32>(row + key * 4));
    }
  }
}

/**
 * Replaces the scores s of eight queries with `cap tanh(s / cap)`, and writes the derivatives `1 - tanh^2` to `slopes`
 * unless that is 0. Both are `[key][8 queries]`.
 */
export function capScores(scores: usize, begin: usize, end: usize, cap: f32, slopes: usize): void {
  const limit = f32x4.splat(cap), inverse = f32x4.splat(1 / cap), one = f32x4.splat(1);
  for (let at = begin * 32; at < end * 32; at += 16) {
    const t = tanh4(f32x4.mul(v128.load(scores + at), inverse));
    v128.store(scores + at, f32x4.mul(t, limit));
    if (slopes > 0) v128.store(slopes + at, f32x4.sub(one, f32x4.mul(t, t)));
  }
}

/**
 * Replaces scores with e^(score - highest) and writes 1 / (their sums) to `factors`, for keys `[begin, end)` of eight
 * queries from `start` on. `sink` has one more score of each query, or `hidden` for none.
 */
export function softmax(scores: usize, start: usize, begin: usize, end: usize, window: usize, ahead: usize, sink: f32, factors: usize): void {
  const query0 = i32x4.add(i32x4.splat(<i32>start), i32x4(0, 1, 2, 3));
  const query1 = i32x4.add(query0, i32x4.splat(4));
  const lowest = f32x4.splat(hidden);
  const beside = f32x4.splat(sink);
  let m0 = beside, m1 = beside;
  const last0 = i32x4.add(query0, i32x4.splat(<i32>ahead)), last1 = i32x4.add(query1, i32x4.splat(<i32>ahead));
  // All eight queries see every key from here to `ahead` after `start`.
  const clear = window > 0 && start + NR > window ? start + NR - window : 0;
  for (let key = begin; key < end; key++) {
    const at = scores + key * 32;
    let s0 = v128.load(at), s1 = v128.load(at, 16);
    if (key > start + ahead || key < clear) {
      const id = i32x4.splat(<i32>key);
      let seen0 = i32x4.le_s(id, last0), seen1 = i32x4.le_s(id, last1);
      if (window > 0) {
        const back = i32x4.splat(<i32>window);
        seen0 = v128.and(seen0, i32x4.gt_s(id, i32x4.sub(query0, back)));
        seen1 = v128.and(seen1, i32x4.gt_s(id, i32x4.sub(query1, back)));
      }
      s0 = v128.bitselect(s0, lowest, seen0);
      s1 = v128.bitselect(s1, lowest, seen1);
      v128.store(at, s0);
      v128.store(at, s1, 16);
    }
    // One instruction of x86 each. They skip NaN, which reaches the sums below.
    m0 = f32x4.pmax(m0, s0);
    m1 = f32x4.pmax(m1, s1);
  }
  const absent = f32x4.eq(beside, lowest);
  let sum0 = v128.andnot(exp4(f32x4.sub(beside, m0)), absent), sum1 = v128.andnot(exp4(f32x4.sub(beside, m1)), absent);
  for (let key = begin; key < end; key++) {
    const at = scores + key * 32;
    const s0 = v128.load(at), s1 = v128.load(at, 16);
    const e0 = v128.andnot(exp4(f32x4.sub(s0, m0)), f32x4.eq(s0, lowest));
    const e1 = v128.andnot(exp4(f32x4.sub(s1, m1)), f32x4.eq(s1, lowest));
    sum0 = f32x4.add(sum0, e0);
    sum1 = f32x4.add(sum1, e1);
    v128.store(at, e0);
    v128.store(at, e1, 16);
  }
  v128.store(factors, f32x4.div(f32x4.splat(1), sum0));
  v128.store(factors, f32x4.div(f32x4.splat(1), sum1), 16);
}
