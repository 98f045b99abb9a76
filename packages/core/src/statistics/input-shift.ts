import { CalibrationError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';
import { tensor } from '../tensor.js';
import { checkWidth, hessian } from './hessian.js';

export interface InputShiftState {
  readonly width: number;
  /** `[width, width]`, f64; zeros when batches have `wanted` outputs, see {@link inputShift}. */
  sum: Float64Array;
  /** Sum of `x_ref^2` of each feature `[width]`, f64. */
  referenceSquares: Float64Array;
  /**
   * `X^T X` of the same tokens, when the Hessian has seen others too. A regression of the difference on x needs both of
   * its matrices from the same tokens; otherwise its error is as large as the difference between the two sets of
   * tokens.
   */
  inputs?: Float64Array;
  count: number;
}

/**
 * Sum of `(x_ref - x) x^T` over tokens in f64: the difference between the unquantized model's inputs of a linear and its
 * inputs after quantized linears, `C - H` of docs/reference/papers.md#correction-of-earlier-errors. Row: feature of the
 * difference; column: feature of `x`. Not symmetric. The difference is taken before the product, so rounding affects
 * the small difference and not two large sums. If a batch has a `wanted` output, another statistic compares with that,
 * and this product is skipped.
 */
export const inputShift: Statistic<InputShiftState> = {
  name: 'inputShift',
  paired: true,
  create: (width) => ({
    width,
    count: 0,
    sum: new Float64Array(width * width),
    referenceSquares: new Float64Array(width),
  }),
  async update(state, { x, reference, wanted, tokens, width }, kernels) {
    checkWidth('inputShift', state.width, width);
    if (!reference) throw new CalibrationError('inputShift needs the inputs of the unquantized model in addition to x');
    const { sum, referenceSquares } = state;
    state.count += tokens;
    // `**` calls a library function, which is ten times as slow.
    for (let start = 0; start < reference.length; start += width)
      for (let j = 0; j < width; j++) referenceSquares[j] += reference[start + j] * reference[start + j];
    if (wanted) return;
    const difference = new Float32Array(reference.length);
    for (let i = 0; i < difference.length; i++) difference[i] = reference[i] - x[i];
    const part = await kernels.matmul({ a: difference, b: x, m: width, n: width, k: tokens, transposeA: true });
    for (let i = 0; i < part.length; i++) sum[i] += part[i];
  },
  endPaired(state, statistics) {
    if (statistics.has(hessian)) state.inputs = new Float64Array(statistics.get(hessian).sum);
  },
  merge(state, other) {
    checkWidth('inputShift', state.width, other.width);
    for (let i = 0; i < state.sum.length; i++) state.sum[i] += other.sum[i];
    for (let i = 0; i < state.width; i++) state.referenceSquares[i] += other.referenceSquares[i];
    if (state.inputs && other.inputs) for (let i = 0; i < state.inputs.length; i++) state.inputs[i] += other.inputs[i];
    state.count += other.count;
  },
  count: (state) => state.count,
  serialize: ({ width, sum, referenceSquares, inputs, count }) => ({
    sum: tensor('f64', [width, width], sum),
    referenceSquares: tensor('f64', [width], referenceSquares),
    count: tensor('f64', [], Float64Array.of(count)),
    ...(inputs ? { inputs: tensor('f64', [width, width], inputs) } : {}),
  }),
  deserialize: ({ sum, referenceSquares, inputs, count }) => ({
    width: sum.shape[0],
    sum: sum.data as Float64Array,
    referenceSquares: referenceSquares.data as Float64Array,
    count: Number(count.data[0]),
    ...(inputs ? { inputs: inputs.data as Float64Array } : {}),
  }),
  bytes: (width) => (width + 1) * width * 8,
};
