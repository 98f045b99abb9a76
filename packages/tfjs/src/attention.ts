import { type AttentionArgs, ShapeError } from '@q/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/**
 * Causal softmax attention, grouped-query without repeating keys and values: the heads that share a key head are
 * stacked as rows of one product. `mask` is `[length, length]`, 0 where a query may look and a large negative number
 * elsewhere.
 */
export function attention(tf: Tfjs, args: AttentionArgs<Tensor>, mask: Tensor): Tensor {
  const { heads, kvHeads, headDim } = args;
  const [batch, length] = args.q.shape as [number, number];
  if (heads % kvHeads !== 0) throw new ShapeError(`attention of ${heads} heads cannot share ${kvHeads} key heads`);
  const repeat = heads / kvHeads;
  const groups = batch * kvHeads;

  // Scaling q touches fewer values than scaling the scores.
  const q = tf.transpose(tf.reshape(tf.mul(args.q, args.scale), [batch, length, heads, headDim]), [0, 2, 1, 3]);
  const k = tf.transpose(tf.reshape(args.k, [batch, length, kvHeads, headDim]), [0, 2, 3, 1]);
  const v = tf.transpose(tf.reshape(args.v, [batch, length, kvHeads, headDim]), [0, 2, 1, 3]);

  const scores: Tensor = tf.matMul(
    tf.reshape(q, [groups, repeat * length, headDim]),
    tf.reshape(k, [groups, headDim, length]),
  );
  const weights = tf.softmax(tf.add(tf.reshape(scores, [groups * repeat, length, length]), mask));
  const mixed: Tensor = tf.matMul(
    tf.reshape(weights, [groups, repeat * length, length]),
    tf.reshape(v, [groups, length, headDim]),
  );
  const merged = tf.transpose(tf.reshape(mixed, [batch, heads, length, headDim]), [0, 2, 1, 3]);
  return tf.reshape(merged, [batch, length, heads * headDim]);
}

/** Far below every score, and still finite: the difference of two masked scores must not be NaN. */
const masked = -1e30;

/** The causal mask `[length, length]`; query i sees keys `(i - window, i]`. */
export function causalMask(length: number, window: number): Float32Array {
  const mask = new Float32Array(length * length);
  for (let row = 0; row < length; row++) {
    mask.fill(masked, row * length + row + 1, (row + 1) * length);
    if (row >= window) mask.fill(masked, row * length, row * length + row - window + 1);
  }
  return mask;
}
