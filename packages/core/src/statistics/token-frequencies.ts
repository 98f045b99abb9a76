import { CalibrationError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';

/**
 * The number of times that the calibration text looks up each row of a table of embeddings, plus one `[rows]`: the
 * weights of its rows if a scale serves several of them. The run counts it from ids ({@link countTokens}), and no
 * method's needs list it.
 */
export const tokenFrequencies: Statistic<Float32Array> = {
  name: 'tokenFrequencies',
  create: (rows) => new Float32Array(rows).fill(1),
  async update() {
    throw new CalibrationError('token frequencies are counted from ids, not from activations');
  },
  merge(state, other) {
    if (state.length !== other.length)
      throw new CalibrationError(`frequencies of ${state.length} and ${other.length} rows cannot be added`);
    for (let row = 0; row < state.length; row++) state[row] += other[row] - 1;
  },
  count: (state) => state.reduce((sum, each) => sum + each - 1, 0),
  serialize: (state) => ({ frequencies: { dtype: 'f32', shape: [state.length], data: state } }),
  deserialize: ({ frequencies }) => frequencies.data as Float32Array,
  bytes: (rows) => 4 * rows,
};

/** Adds the ids of a text to frequencies; ids outside of the table are ignored. */
export function countTokens(frequencies: Float32Array, ids: Int32Array): void {
  for (const id of ids) if (id >= 0 && id < frequencies.length) frequencies[id]++;
}
