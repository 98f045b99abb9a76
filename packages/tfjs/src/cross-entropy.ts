import { ShapeError } from '@q/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/**
 * Mean of `logSumExp(logits) - logits[target]` over the rows whose target is not -1. The gradient is `(softmax -
 * oneHot) / rows`, one pass over the probabilities that the forward pass keeps.
 *
 * `logSumExp` is `max - log(max softmax)`, because the largest probability is 1 / sum(exp(x - max)). tfjs-wasm's
 * softmax is vectorised and its exp is not (9 ms instead of 70 ms on `[2048, 4096]`).
 * @param logits `[..., vocabulary]`
 * @param targets a token id for each row, or -1
 * @throws ShapeError when the numbers of rows and targets differ, a target is not in the vocabulary, or all targets are
 *   -1
 */
export function crossEntropy(tf: Tfjs, logits: Tensor, targets: Int32Array): Tensor {
  const vocabulary = logits.shape.at(-1)!;
  const flat = tf.reshape(logits, [-1, vocabulary]);
  const rows = flat.shape[0]!;
  if (rows !== targets.length) {
    throw new ShapeError(`crossEntropy got ${targets.length} targets for ${rows} rows of logits`);
  }
  const picked = pickTargets(targets, vocabulary);
  const loss = tf.customGrad((x, save) => {
    const values = x as Tensor;
    const probabilities: Tensor = tf.softmax(values);
    const logSumExp = tf.sub(tf.max(values, -1), tf.log(tf.max(probabilities, -1)));
    const chosen = tf.gather(tf.reshape(values, [-1]), tf.tensor1d(picked.indices, 'int32'));
    const weights = tf.tensor1d(picked.weights);
    (save as unknown as (tensors: Tensor[]) => void)([probabilities, weights]);
    const gradFunc = (dy: Tensor, saved: Tensor[]) => {
      const [kept, rowWeights] = saved as [Tensor, Tensor];
      const hit = tf.cast(tf.oneHot(tf.tensor1d(picked.columns, 'int32'), vocabulary), 'float32');
      return tf.mul(tf.sub(kept, hit), tf.mul(tf.reshape(rowWeights, [-1, 1]), dy));
    };
    return { value: tf.sum(tf.mul(tf.sub(logSumExp, chosen), weights)), gradFunc };
  });
  return loss(flat);
}

function pickTargets(targets: Int32Array, vocabulary: number) {
  const indices = new Int32Array(targets.length);
  const columns = new Int32Array(targets.length);
  const weights = new Float32Array(targets.length);
  const counted = targets.reduce((count, target) => count + (target === -1 ? 0 : 1), 0);
  if (counted === 0) throw new ShapeError('crossEntropy has no target: all of them are -1');
  for (let row = 0; row < targets.length; row++) {
    const target = targets[row]!;
    if (target < -1 || target >= vocabulary) {
      throw new ShapeError(`crossEntropy: target ${target} of row ${row} is not in a vocabulary of ${vocabulary}`);
    }
    // Ignored rows read column 0 and have weight zero.
    columns[row] = Math.max(target, 0);
    indices[row] = row * vocabulary + columns[row]!;
    weights[row] = target === -1 ? 0 : 1 / counted;
  }
  return { indices, columns, weights };
}
