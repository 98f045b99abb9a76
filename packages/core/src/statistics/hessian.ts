import { CalibrationError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';
import type { Tensor } from '../contracts/tensor.js';
import { tensor } from '../tensor.js';

/** Sum of `x x^T` over tokens, not scaled: a method that needs the mean divides by `count`. */
export interface HessianState {
  readonly width: number;
  /** `[width, width]`, symmetric. */
  readonly sum: Float64Array | Float32Array;
  count: number;
}

function hessianStatistic(name: string, dtype: 'f64' | 'f32'): Statistic<HessianState> {
  return {
    name,
    create: (width) => ({
      width,
      count: 0,
      sum: dtype === 'f64' ? new Float64Array(width * width) : new Float32Array(width * width),
    }),
    async update(state, { x, tokens, width }, kernels) {
      checkWidth(name, state.width, width);
      await kernels.gram({ x, tokens, width, out: state.sum });
      state.count += tokens;
    },
    metric: ({ sum }) => sum,
    // A NaN or an infinity stays in the sum of squares of its feature.
    finite({ width, sum }) {
      for (let j = 0; j < width; j++) if (!Number.isFinite(sum[j * width + j])) return false;
      return true;
    },
    merge(state, other) {
      checkWidth(name, state.width, other.width);
      for (let i = 0; i < state.sum.length; i++) state.sum[i] += other.sum[i];
      state.count += other.count;
    },
    count: (state) => state.count,
    serialize: ({ width, sum, count }) => ({
      sum: tensor(dtype, [width, width], sum as Float64Array & Float32Array) as Tensor,
      count: tensor('f64', [], Float64Array.of(count)),
    }),
    deserialize: ({ sum, count }) => ({
      width: sum.shape[0],
      sum: sum.data as Float64Array,
      count: Number(count.data[0]),
    }),
    bytes: (width) => width * width * (dtype === 'f64' ? 8 : 4),
  };
}

/** @throws CalibrationError when a batch or another state has another width */
export function checkWidth(name: string, expected: number, found: number): void {
  if (expected !== found) throw new CalibrationError(`${name} was made for ${expected} features and got ${found}`);
}

/** `X^T X` of a linear's inputs, accumulated in f64. */
export const hessian = hessianStatistic('hessian', 'f64');

/** The same in f32: half the memory, for wide layers. */
export const hessianF32 = hessianStatistic('hessianF32', 'f32');
