import type { AttentionArgs } from '@q/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/**
 * Queries that are computed together. Queries before row `r` use only the first `r` keys, so a sequence of several
 * blocks costs little more than the half of the score matrix that the causal mask leaves.
 */
const rowsAtOnce = 64;

/**
 * Causal attention of a whole sequence with its own gradient (FlashAttention, arXiv 2205.14135, section B.2): with P
 * the probabilities and O = P V,
 *
 *     dV = P^T dO    dP = dO V^T    dS = P (dP - rowsum(dO O))    dQ = dS K    dK = dS^T Q
 *
 * The row sums over keys equal sums of `dO O` over channels. Scores and their masked copies are not kept, and the
 * probabilities above the diagonal are never computed.
 * @param mask `[length, length]`, 0 where a query may see a key, and a large negative number elsewhere
 */
export function differentiableAttention(tf: Tfjs, args: AttentionArgs<Tensor>, mask: Tensor): Tensor {
  const { heads, kvHeads, headDim, scale } = args;
  const [batch, length] = args.q.shape as [number, number];
  const repeat = heads / kvHeads;
  const groups = batch * kvHeads;
  const toHeads = (x: Tensor, count: number): Tensor =>
    tf.transpose(tf.reshape(x, [batch, length, count, headDim]), [0, 2, 1, 3]);
  const fromHeads = (x: Tensor, count: number): Tensor =>
    tf.reshape(
      tf.transpose(tf.reshape(x, [batch, count, length, headDim]), [0, 2, 1, 3]),
      args.q.shape.slice(0, 2).concat(count * headDim),
    );
  const blocks = Array.from({ length: Math.ceil(length / rowsAtOnce) }, (_, i) => {
    const from = i * rowsAtOnce;
    return { from, to: Math.min(from + rowsAtOnce, length) };
  });
  /** Rows of all heads that share keys, one after another: `[groups, repeat * rows, width]`. */
  const rowsOf = (x: Tensor, from: number, to: number): Tensor =>
    tf.reshape(tf.slice(x, [0, 0, from, 0], [-1, -1, to - from, -1]), [groups, repeat * (to - from), x.shape[3]!]);
  const keysOf = (x: Tensor, to: number): Tensor => tf.slice(x, [0, 0, 0], [-1, to, -1]);
  const unstack = (x: Tensor, rows: number): Tensor => tf.reshape(x, [groups, repeat, rows, x.shape[2]!]);

  const attend = tf.customGrad((...inputs: unknown[]) => {
    const [qIn, kIn, vIn, save] = inputs as [Tensor, Tensor, Tensor, (tensors: Tensor[]) => void];
    // q has fewer values than the scores, so q is scaled.
    const q: Tensor = tf.reshape(toHeads(tf.mul(qIn, scale), heads), [groups, repeat, length, headDim]);
    const k: Tensor = tf.reshape(toHeads(kIn, kvHeads), [groups, length, headDim]);
    const v: Tensor = tf.reshape(toHeads(vIn, kvHeads), [groups, length, headDim]);
    const kept: Tensor[] = [];
    const mixed = blocks.map(({ from, to }) => {
      const rows = to - from;
      const scores = tf.matMul(rowsOf(q, from, to), keysOf(k, to), false, true);
      const masked = tf.add(tf.reshape(scores, [groups * repeat, rows, to]), tf.slice(mask, [from, 0], [rows, to]));
      const probabilities: Tensor = tf.reshape(tf.softmax(masked), [groups, repeat * rows, to]);
      kept.push(probabilities);
      return unstack(tf.matMul(probabilities, keysOf(v, to)), rows);
    });
    const output: Tensor = mixed.length === 1 ? mixed[0]! : tf.concat(mixed, 2);
    save([q, k, v, output, ...kept]);
    return {
      value: fromHeads(output, heads),
      gradFunc: (dy: Tensor, saved: Tensor[]) => {
        const [q, k, v, output, ...probabilities] = saved as [Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
        const arriving: Tensor = tf.reshape(toHeads(dy, heads), [groups, repeat, length, headDim]);
        const rowSums = tf.sum(tf.mul(arriving, output), -1, true);
        const padded = (x: Tensor, to: number): Tensor =>
          to === length
            ? x
            : tf.pad(x, [
                [0, 0],
                [0, length - to],
                [0, 0],
              ]);
        const byQ: Tensor[] = [];
        let [byK, byV]: Tensor[] = [];
        for (const [i, { from, to }] of blocks.entries()) {
          const p = probabilities[i]!;
          const dO = rowsOf(arriving, from, to);
          const dP = tf.matMul(dO, keysOf(v, to), false, true);
          const dS = tf.mul(p, tf.sub(dP, rowsOf(rowSums, from, to)));
          byQ.push(unstack(tf.matMul(dS, keysOf(k, to)), to - from));
          const [dK, dV] = [tf.matMul(dS, rowsOf(q, from, to), true), tf.matMul(p, dO, true)];
          byK = byK ? tf.add(byK, padded(dK, to)) : padded(dK, to);
          byV = byV ? tf.add(byV, padded(dV, to)) : padded(dV, to);
        }
        const dQ = byQ.length === 1 ? byQ[0]! : tf.concat(byQ, 2);
        return [tf.mul(fromHeads(dQ, heads), scale), fromHeads(byK!, kvHeads), fromHeads(byV!, kvHeads)];
      },
    };
  });
  return attend(args.q, args.k, args.v);
}
