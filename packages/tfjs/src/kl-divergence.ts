import { ShapeError } from '@q/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/**
 * Mean over rows of KL(p || q), in nats, with p the teacher's probabilities and q the student's: `sum p (t - s) -
 * (logSumExp t - logSumExp s)` with logits t and s. This form takes no logarithm of a probability. The gradient by s is
 * `(q - p) / rows`.
 *
 * `logSumExp` is `max - log(max softmax)`, because the largest probability is 1 / sum(exp(x - max)).
 */
export function klDivergence(tf: Tfjs, student: Tensor, teacher: Tensor): Tensor {
  const vocabulary = student.shape.at(-1)!;
  if (`${student.shape}` !== `${teacher.shape}`) {
    throw new ShapeError(
      `klDivergence: the student's logits are [${student.shape}], the teacher's [${teacher.shape}]: both need one vocabulary and the same tokens`,
    );
  }
  const rows = student.size / vocabulary;
  const teacherRows = tf.reshape(teacher, [rows, vocabulary]);
  const loss = tf.customGrad((x, save) => {
    const values = x as Tensor;
    const [p, q] = [tf.softmax(teacherRows), tf.softmax(values)] as [Tensor, Tensor];
    const logSumExp = (logits: Tensor, probabilities: Tensor): Tensor =>
      tf.sub(tf.max(logits, -1), tf.log(tf.max(probabilities, -1)));
    const cross = tf.sum(tf.mul(p, tf.sub(teacherRows, values)), -1);
    const divergence: Tensor = tf.sub(cross, tf.sub(logSumExp(teacherRows, p), logSumExp(values, q)));
    (save as unknown as (tensors: Tensor[]) => void)([tf.sub(q, p)]);
    return {
      value: tf.mul(tf.sum(divergence), 1 / rows),
      gradFunc: (dy: Tensor, [difference]: Tensor[]) => tf.mul(difference!, tf.mul(dy, 1 / rows)),
    };
  });
  return loss(tf.reshape(student, [rows, vocabulary]));
}
