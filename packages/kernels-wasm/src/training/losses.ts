import { ShapeError } from '@q/core';
import type { Heap } from '../forward/heap.js';
import type { Value, Values } from '../forward/values.js';
import type { Pool } from '../pool.js';

/** Losses of logits, and their derivatives by the logits. Sums are f64, in the order of the rows. */
export function createLosses(pool: Pool, heap: Heap, values: Values) {
  const { address } = values;
  /**
   * Runs a kernel over rows. The kernel writes a loss of each row and its derivatives. Returns the sum of the losses,
   * and the derivatives.
   */
  const overRows = (logits: Value, rows: number, run: (losses: number, gradient: number) => void) => {
    const gradient = values.make(logits.shape);
    const losses = heap.allocate(8 * rows);
    run(losses, address(gradient));
    const value = values.make([]);
    const each = new Float64Array(pool.memory.buffer, losses, rows);
    values.read(value)[0] = each.reduce((sum, x) => sum + x, 0);
    heap.free(losses);
    return { value, gradient };
  };
  const rowsAtOnce = (rows: number) => Math.max(1, Math.ceil(rows / (8 * pool.threads)));

  return {
    crossEntropy(logits: Value, targets: Int32Array) {
      const vocabulary = logits.shape[logits.shape.length - 1];
      const rows = logits.count / vocabulary;
      if (rows !== targets.length)
        throw new ShapeError(`crossEntropy got ${targets.length} targets for ${rows} rows of logits`);
      const wrong = targets.findIndex((target) => target < -1 || target >= vocabulary);
      if (wrong >= 0)
        throw new ShapeError(
          `crossEntropy: target ${targets[wrong]} of row ${wrong} is not in a vocabulary of ${vocabulary}`,
        );
      const counted = targets.reduce((count, target) => count + (target === -1 ? 0 : 1), 0);
      if (counted === 0) throw new ShapeError('crossEntropy has no target: all of them are -1');
      const ids = heap.allocate(4 * rows);
      new Int32Array(pool.memory.buffer, ids, rows).set(targets);
      const result = overRows(logits, rows, (losses, gradient) =>
        pool.run(
          'crossEntropyRows',
          [address(logits), ids, losses, gradient, vocabulary, 1 / counted],
          rows,
          rowsAtOnce(rows),
        ),
      );
      heap.free(ids);
      return result;
    },
    klDivergence(student: Value, teacher: Value) {
      if (`${student.shape}` !== `${teacher.shape}`)
        throw new ShapeError(
          `klDivergence: the student's logits are [${student.shape}], the teacher's [${teacher.shape}]: both need one vocabulary and the same tokens`,
        );
      const vocabulary = student.shape[student.shape.length - 1];
      const rows = student.count / vocabulary;
      const scratch = heap.allocate(pool.threads * 4 * 16 * Math.ceil(vocabulary / 16));
      const result = overRows(student, rows, (losses, gradient) =>
        pool.run(
          'divergenceRows',
          [address(student), address(teacher), losses, gradient, scratch, vocabulary, 1 / rows],
          rows,
          rowsAtOnce(rows),
        ),
      );
      heap.free(scratch);
      return result;
    },
  };
}
