import { type ActivationBatch, CalibrationError, type Statistic, type Tensor, tensor } from '@q/core';

/** Rows of a linear's input, evenly spaced over all its inputs. */
export interface InputRowsState {
  readonly width: number;
  /** `[kept, width]` */
  rows: Float32Array;
  kept: number;
  /** Every `stride`-th row is kept. A power of two. */
  stride: number;
  count: number;
}

/**
 * At most `capacity` inputs of each linear, evenly spaced. When there are more, every second kept row is dropped and
 * the stride doubles. No random numbers: the same calibration tokens keep the same rows.
 */
export function inputRows(capacity: number): Statistic<InputRowsState> {
  const thin = (state: InputRowsState) => {
    const { width } = state;
    const kept = Math.ceil(state.kept / 2);
    for (let i = 1; i < kept; i++) state.rows.copyWithin(i * width, 2 * i * width, (2 * i + 1) * width);
    state.kept = kept;
    state.stride *= 2;
  };
  const append = (state: InputRowsState, row: Float32Array) => {
    state.rows.set(row, state.kept * state.width);
    state.kept++;
  };
  return {
    name: `inputRows${capacity}`,
    create: (width) => ({ width, rows: new Float32Array(capacity * width), kept: 0, stride: 1, count: 0 }),
    async update(state, { x, tokens, width }: ActivationBatch) {
      if (width !== state.width)
        throw new CalibrationError(`inputRows: inputs of ${width} features, ${state.width} were expected`);
      for (let token = 0; token < tokens; token++, state.count++) {
        if (state.count % state.stride !== 0) continue;
        if (state.kept === capacity) thin(state);
        if (state.count % state.stride === 0) append(state, x.subarray(token * width, (token + 1) * width));
      }
    },
    merge(state, other) {
      if (other.width !== state.width)
        throw new CalibrationError(`inputRows: widths ${state.width} and ${other.width} cannot be merged`);
      while (state.kept + other.kept > capacity && state.kept > 1 && state.stride <= other.stride) thin(state);
      const step = Math.max(1, Math.ceil(other.kept / Math.max(1, capacity - state.kept)));
      for (let i = 0; i < other.kept && state.kept < capacity; i += step)
        append(state, other.rows.subarray(i * other.width, (i + 1) * other.width));
      state.count += other.count;
    },
    count: ({ count }) => count,
    serialize: ({ width, rows, kept, stride, count }): Record<string, Tensor> => ({
      rows: tensor('f32', [kept, width], rows.slice(0, kept * width)),
      progress: tensor('f64', [2], Float64Array.of(stride, count)),
    }),
    deserialize({ rows, progress }) {
      const [kept, width] = rows.shape;
      const all = new Float32Array(capacity * width);
      all.set(rows.data as Float32Array);
      return { width, rows: all, kept, stride: Number(progress.data[0]), count: Number(progress.data[1]) };
    },
    bytes: (width) => 4 * capacity * width,
  };
}
