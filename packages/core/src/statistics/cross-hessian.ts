import { CalibrationError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';
import { tensor } from '../tensor.js';
import { checkWidth } from './hessian.js';

export interface CrossHessianState {
  readonly width: number;
  /** `[width, width]`, f64. */
  sum: Float64Array;
  /** Sum of `x_ref^2` of each feature `[width]`, f64. */
  referenceSquares: Float64Array;
  count: number;
}

/**
 * Sum of `x_ref x^T` over tokens in f64: the unquantized model's inputs of a layer against what the layer really sees
 * behind quantized layers (docs/reference/papers.md#correction-of-earlier-errors). Row: feature of `x_ref`; column: feature of `x`. Not symmetric.
 */
export const crossHessian: Statistic<CrossHessianState> = {
  name: 'crossHessian',
  paired: true,
  create: (width) => ({
    width,
    count: 0,
    sum: new Float64Array(width * width),
    referenceSquares: new Float64Array(width),
  }),
  async update(state, { x, reference, tokens, width }, kernels) {
    checkWidth('crossHessian', state.width, width);
    if (!reference) throw new CalibrationError('crossHessian needs the inputs of the unquantized model beside x');
    const part = await kernels.matmul({ a: reference, b: x, m: width, n: width, k: tokens, transposeA: true });
    const { sum, referenceSquares } = state;
    for (let i = 0; i < part.length; i++) sum[i] += part[i];
    for (let start = 0; start < reference.length; start += width)
      for (let j = 0; j < width; j++) referenceSquares[j] += reference[start + j] * reference[start + j];
    state.count += tokens;
  },
  merge(state, other) {
    checkWidth('crossHessian', state.width, other.width);
    for (let i = 0; i < state.sum.length; i++) state.sum[i] += other.sum[i];
    for (let i = 0; i < state.width; i++) state.referenceSquares[i] += other.referenceSquares[i];
    state.count += other.count;
  },
  count: (state) => state.count,
  serialize: ({ width, sum, referenceSquares, count }) => ({
    sum: tensor('f64', [width, width], sum),
    referenceSquares: tensor('f64', [width], referenceSquares),
    count: tensor('f64', [], Float64Array.of(count)),
  }),
  deserialize: ({ sum, referenceSquares, count }) => ({
    width: sum.shape[0],
    sum: sum.data as Float64Array,
    referenceSquares: referenceSquares.data as Float64Array,
    count: Number(count.data[0]),
  }),
  bytes: (width) => (width + 1) * width * 8,
};
