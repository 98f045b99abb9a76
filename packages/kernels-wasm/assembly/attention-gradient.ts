import { MR, NR, micro, packPanel4, packPanel8, turn } from './matmul';
import { addBias, capScores, hidden, softmax } from './attention';

/** Queries whose probabilities are kept at a time. This is the depth of the products over queries. */
const QUERIES: usize = 64;

/**
 * Gradient of `attentionHeads` for the pairs of sequence and key head `[first, last)`, with P the probabilities, S the
 * scores and O = P V (FlashAttention, arXiv 2205.14135, section B.2):
 *
 *     dV = P^T dO    dP = dO V^T    dS = P (dP - rowsum(P dP))    dQ = dS K    dK = dS^T Q
 *
 * Probabilities are computed again, 64 queries at a time. Each query sums over its keys in order; each key sums over
 * the queries of its heads in order. `dq` has the layout of `q`; `dk` and `dv` have that of `k`. `scratch`:
 * `scratchBytes` for each worker, see `src/training/attention-gradient.ts`.
 */
export function attentionGradientHeads(
  q: usize,
  k: usize,
  v: usize,
  dy: usize,
  dq: usize,
  dk: usize,
  dv: usize,
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
  const dims = (headDim + 7) / 8 * 8;
  const qStride = heads * headDim;
  const kStride = kvHeads * headDim;
  const repeat = heads / kvHeads;
  const past = length - asked;
  /** Keys in panels of four, along the channels. */
  const keyPanels = scratch + worker * scratchBytes;
  const valuePanels = keyPanels + keys * headDim * 4;
  /** Keys in panels of four channels, along the keys. */
  const keyColumns = valuePanels + keys * headDim * 4;
  /** Sums of this key head, `[keys, dims]`. */
  const keySums = keyColumns + dims * length * 4;
  const valueSums = keySums + keys * dims * 4;
  /** Probabilities in panels of four keys, along 64 queries. */
  const probabilities = valueSums + keys * dims * 4;
  const scoreGradients = probabilities + keys * QUERIES * 4;
  /** Eight queries along the channels; then panels of eight channels along 64 queries. */
  const query = scoreGradients + keys * QUERIES * 4;
  const arriving = query + headDim * 32;
  const queryColumns = arriving + headDim * 32;
  const arrivingColumns = queryColumns + dims * QUERIES * 4;
  /** `[keys][8 queries]`. */
  const scores = arrivingColumns + dims * QUERIES * 4;
  const products = scores + keys * 32;
  const mixed = products + keys * 32;
  /** Derivatives of the limited scores, after one tile. */
  const slopes = mixed + 256;
  for (let unit = first; unit < last; unit++) {
    const batch = unit / kvHeads;
    const kvHead = unit % kvHeads;
    const shared = (batch * length * kStride + kvHead * headDim) * 4;
    for (let key: usize = 0; key < length; key += MR) {
      const height = min(MR, length - key);
      packPanel4(k + shared + key * kStride * 4, kStride, 1, height, headDim, keyPanels + key * headDim * 4);
      packPanel4(v + shared + key * kStride * 4, kStride, 1, height, headDim, valuePanels + key * headDim * 4);
    }
    for (let dim: usize = 0; dim < headDim; dim += MR)
      packPanel4(k + shared + dim * 4, 1, kStride, min(MR, headDim - dim), length, keyColumns + dim * length * 4);
    memory.fill(keySums, 0, 2 * keys * dims * 4);
    for (let head = kvHead * repeat; head < (kvHead + 1) * repeat; head++) {
      const own = (batch * asked * qStride + head * headDim) * 4;
      for (let block: usize = 0; block < asked; block += QUERIES) {
        const rows = min(QUERIES, asked - block);
        const depth = (rows + NR - 1) / NR * NR;
        const reached = min(length, past + block + rows + ahead);
        const lowest = firstKey(past + block, window);
        const from = own + block * qStride * 4;
        for (let dim: usize = 0; dim < headDim; dim += NR) {
          const width = min(NR, headDim - dim);
          const to = dim * QUERIES * 4;
          packPanel8(q + from + dim * 4, qStride, 1, width, rows, queryColumns + to);
          packPanel8(dy + from + dim * 4, qStride, 1, width, rows, arrivingColumns + to);
          memory.fill(queryColumns + to + rows * 32, 0, (depth - rows) * 32);
          memory.fill(arrivingColumns + to + rows * 32, 0, (depth - rows) * 32);
        }
        for (let start: usize = 0; start < rows; start += NR) {
          const queries = min(NR, rows - start);
          const position = past + block + start;
          const end = min(length, position + queries + ahead);
          const begin = firstKey(position, window);
          packPanel8(q + from + start * qStride * 4, 1, qStride, queries, headDim, query);
          packPanel8(dy + from + start * qStride * 4, 1, qStride, queries, headDim, arriving);
          for (let at: usize = 0; at < headDim * 32; at += 16) v128.store(query + at, f32x4.mul(v128.load(query + at), f32x4.splat(scale)));
          for (let key = begin; key < end; key += MR) {
            micro(keyPanels + key * headDim * 4, query, scores + key * 32, 32, headDim, 0, false);
            micro(valuePanels + key * headDim * 4, arriving, products + key * 32, 32, headDim, 0, false);
          }
          if (bias > 0) addBias(bias + (head * asked + block + start) * length * 4, length, queries, begin, end, scores);
          if (cap > 0) capScores(scores, begin, end, cap, slopes);
          softmax(scores, position, begin, end, window, ahead, sinks > 0 ? load<f32>(sinks + head * 4) : hidden, mixed);
          scoreGradient(scores, products, begin, end, mixed, scale);
          if (cap > 0) {
            for (let at = begin * 32; at < end * 32; at += 16)
              v128.store(products + at, f32x4.mul(v128.load(products + at), v128.load(slopes + at)));
          }
          // Rows of 4 keys are written whole. Keys after the last visible one have weight zero.
          memory.fill(scores + end * 32, 0, ((end + 3) / 4 * 4 - end) * 32);
          memory.fill(products + end * 32, 0, ((end + 3) / 4 * 4 - end) * 32);
          for (let key = lowest; key < reached; key += MR) {
            const to = (key * QUERIES + start * MR) * 4;
            if (key < begin || key >= end) {
              memory.fill(probabilities + to, 0, NR * MR * 4);
              memory.fill(scoreGradients + to, 0, NR * MR * 4);
              continue;
            }
            turn(scores + key * 32, 32, probabilities + to, 16);
            turn(scores + key * 32 + 16, 32, probabilities + to + 64, 16);
            turn(products + key * 32, 32, scoreGradients + to, 16);
            turn(products + key * 32 + 16, 32, scoreGradients + to + 64, 16);
          }
          for (let dim: usize = 0; dim < headDim; dim += MR) {
            micro(keyColumns + (dim * length + begin * MR) * 4, products + begin * 32, mixed, 32, end - begin, 0, false);
            const to = dq + from + (start * qStride + dim) * 4;
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
        for (let key = lowest; key < reached; key += MR) {
          for (let dim: usize = 0; dim < headDim; dim += NR) {
            const at = (key * dims + dim) * 4;
            const columns = dim * QUERIES * 4;
            micro(scoreGradients + key * QUERIES * 4, queryColumns + columns, keySums + at, dims * 4, depth, 0, true);
            micro(probabilities + key * QUERIES * 4, arrivingColumns + columns, valueSums + at, dims * 4, depth, 0, true);
          }
        }
      }
    }
    for (let key: usize = 0; key < length; key++) {
      memory.copy(dk + shared + key * kStride * 4, keySums + key * dims * 4, headDim * 4);
      memory.copy(dv + shared + key * kStride * 4, valueSums + key * dims * 4, headDim * 4);
    }
  }
}

/** The first key that a query at `position` or later sees, rounded down to a panel. */
// @ts-expect-error: decorator
@inline
function firstKey(position: usize, window: usize): usize {
  return window > 0 && position + 1 > window ? (position + 1 - window) & ~3 : 0;
}

/**
 * Replaces `e = e^(score - highest)` with `P = e / sum`, and `dP` with `dS = P (dP - sum P dP) scale`, for eight
 * queries. `factors` has 1 / sum of each query.
 */
function scoreGradient(e: usize, dP: usize, begin: usize, end: usize, factors: usize, scale: f32): void {
  const f0 = v128.load(factors), f1 = v128.load(factors, 16);
  let sum0 = f32x4.splat(0), sum1 = sum0;
  for (let at = begin * 32; at < end * 32; at += 32) {
    const p0 = f32x4.mul(v128.load(e + at), f0), p1 = f32x4.mul(v128.load(e + at, 16), f1);
    v128.store(e + at, p0);
    v128.store(e + at, p1, 16);
    sum0 = f32x4.add(sum0, f32x4.mul(p0, v128.load(dP + at)));
    sum1 = f32x4.add(sum1, f32x4.mul(p1, v128.load(dP + at, 16)));
  }
  const s = f32x4.splat(scale);
  for (let at = begin * 32; at < end * 32; at += 32) {
    v128.store(dP + at, f32x4.mul(f32x4.mul(v128.load(e + at), s), f32x4.sub(v128.load(dP + at), sum0)));
    v128.store(dP + at, f32x4.mul(f32x4.mul(v128.load(e + at, 16), s), f32x4.sub(v128.load(dP + at, 16), sum1)), 16);
  }
}
