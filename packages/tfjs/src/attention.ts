import { type AttentionArgs, ShapeError } from '@q/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/**
 * Softmax attention. Grouped-query attention does not repeat keys and values: the heads that share a key head are
 * stacked as rows of one product. `mask` is `[length, keys]`, 0 where a query may see a key and a large negative number
 * elsewhere; it is absent if every query sees every key.
 * @param scoresAtOnce the most scores that exist at a time, unless one key head has more
 */
export function attention(
  tf: Tfjs,
  args: AttentionArgs<Tensor>,
  mask: Tensor | undefined,
  scoresAtOnce: number,
): Tensor {
  const { heads, kvHeads, headDim } = args;
  const [batch, length] = args.q.shape as [number, number];
  const keys = args.k.shape[1]!;
  if (heads % kvHeads !== 0) throw new ShapeError(`attention of ${heads} heads cannot share ${kvHeads} key heads`);
  const repeat = heads / kvHeads;
  const groups = batch * kvHeads;

  // q has fewer values than the scores, so q is scaled.
  const q = tf.transpose(tf.reshape(tf.mul(args.q, args.scale), [batch, length, heads, headDim]), [0, 2, 1, 3]);
  const k = tf.transpose(tf.reshape(args.k, [batch, keys, kvHeads, headDim]), [0, 2, 3, 1]);
  const v = tf.transpose(tf.reshape(args.v, [batch, keys, kvHeads, headDim]), [0, 2, 1, 3]);

  const q3: Tensor = tf.reshape(q, [groups, repeat * length, headDim]);
  const k3: Tensor = tf.reshape(k, [groups, headDim, keys]);
  const v3: Tensor = tf.reshape(v, [groups, keys, headDim]);

  const atOnce = Math.max(1, Math.floor(scoresAtOnce / (repeat * length * keys)));
  const sizes = Array.from({ length: Math.ceil(groups / atOnce) }, (_, i) => Math.min(atOnce, groups - i * atOnce));
  const parts = (x: Tensor): Tensor[] => (sizes.length === 1 ? [x] : tf.split(x, sizes, 0));
  const [qs, ks, vs] = [parts(q3), parts(k3), parts(v3)];
  // The biases are the same for every sequence. Heads are the rows of a group, as in q.
  const biases = args.bias && parts(tf.reshape(tf.tile(args.bias, [batch, 1, 1]), [groups, repeat * length, keys]));
  // The sinks are the same for every token of a sequence: one column a head, in the order of the heads that are rows of
  // a group.
  const sinks = args.sinks && parts(tf.reshape(tf.tile(args.sinks, [batch]), [groups, repeat]));
  const mixed = sizes.map((size, i) =>
    tf.tidy(() => {
      let scores: Tensor = tf.reshape(tf.matMul(qs[i]!, ks[i]!), [size * repeat, length, keys]);
      if (biases) scores = tf.add(scores, tf.reshape(biases[i]!, scores.shape));
      if (args.softCap !== undefined) scores = limited(tf, scores, args.softCap);
      if (mask) scores = tf.add(scores, mask);
      let probabilities: Tensor;
      if (sinks) {
        const column = tf.tile(tf.reshape(sinks[i]!, [size * repeat, 1, 1]), [1, length, 1]);
        probabilities = tf.slice(tf.softmax(tf.concat([scores, column], -1)), [0, 0, 0], [-1, -1, keys]);
      } else {
        probabilities = tf.softmax(scores);
      }
      const weights = tf.reshape(probabilities, [size, repeat * length, keys]);
      return tf.matMul(weights, vs[i]!) as Tensor;
    }),
  );
  const whole = mixed.length === 1 ? mixed[0]! : tf.concat(mixed, 0);
  const merged = tf.transpose(tf.reshape(whole, [batch, heads, length, headDim]), [0, 2, 1, 3]);
  return tf.reshape(merged, [batch, length, heads * headDim]);
}

/** `cap tanh(s / cap)`, computed from sigmoid, because the gradient of sigmoid runs on all backends. */
function limited(tf: Tfjs, scores: Tensor, cap: number): Tensor {
  return tf.sub(tf.mul(tf.sigmoid(tf.mul(scores, 2 / cap)), 2 * cap), cap);
}

/** Far below every score and still finite, because the difference of two masked scores must not be NaN. */
const masked = -1e30;

/**
 * The mask `[length, length]`: query i sees the keys `(i - window, i]`, and `[i, i + window)` too if attention is not
 * causal.
 */
export function attentionMask(length: number, window: number, causal: boolean): Float32Array {
  const mask = new Float32Array(length * length);
  for (let row = 0; row < length; row++) {
    const end = causal ? row + 1 : Math.min(length, row + window);
    mask.fill(masked, row * length + end, (row + 1) * length);
    if (row >= window) mask.fill(masked, row * length, row * length + row - window + 1);
  }
  return mask;
}
