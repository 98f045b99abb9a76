import { CalibrationError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';
import { tensor } from '../tensor.js';
import { checkWidth } from './hessian.js';
import { createTokenSample, type TokenSample } from './token-sample.js';

/** Sum of `e x^T` over tokens, `e` the error of the residual stream that a layer adds to. */
export interface ResidualCrossState {
  readonly width: number;
  /** `[hidden, width]`, f64; empty for layers that do not add to the residual stream. */
  sum: Float64Array;
  count: number;
  /**
   * Single tokens: `x` `[width]`, `e` `[hidden]` and the unquantized residual stream `[hidden]`. A sum over tokens is
   * dominated by the few with the largest activations; the sample shows what a change does to all others.
   */
  readonly sample: TokenSample;
}

/** Tokens in the sample: enough to tell better from worse, at a small share of the memory and time of the sums. */
const sampledTokens = 256;

/**
 * What the residual stream lacks, against a layer's inputs: lets a layer that writes to the stream make up for errors that
 * earlier ones left in it. Needs `residualError` beside `x`; without it the state stays empty. Without `residual` the
 * sample stays empty.
 */
export const residualCross: Statistic<ResidualCrossState> = {
  name: 'residualCross',
  paired: true,
  create: (width) => ({ width, count: 0, sum: new Float64Array(0), sample: createTokenSample(sampledTokens, 3) }),
  async update(state, { x, residualError, residual, tokens, width }, kernels) {
    checkWidth('residualCross', state.width, width);
    state.count += tokens;
    if (!residualError) return;
    if (residual && residual.length !== residualError.length)
      throw new CalibrationError(
        `residualCross got a residual stream of ${residual.length} values and an error of ${residualError.length}`,
      );
    const hidden = residualError.length / tokens;
    if (state.sum.length === 0) state.sum = new Float64Array(hidden * width);
    const part = await kernels.matmul({ a: residualError, b: x, m: hidden, n: width, k: tokens, transposeA: true });
    for (let i = 0; i < part.length; i++) state.sum[i] += part[i];
    if (residual) state.sample.add([x, residualError, residual], tokens);
  },
  merge(state, other) {
    checkWidth('residualCross', state.width, other.width);
    if (state.sum.length === 0) state.sum = other.sum.slice();
    else for (let i = 0; i < other.sum.length; i++) state.sum[i] += other.sum[i];
    state.count += other.count;
    state.sample.merge(other.sample);
  },
  count: (state) => state.count,
  serialize: ({ width, sum, count, sample }) => {
    const [x, error, residual] = sample.columns();
    return {
      sum: tensor('f64', [sum.length / width, width], sum),
      count: tensor('f64', [], Float64Array.of(count)),
      ...(sample.tokens > 0
        ? {
            sampleInputs: tensor('f32', [sample.tokens, width], x),
            sampleErrors: tensor('f32', [sample.tokens, sum.length / width], error),
            sampleResiduals: tensor('f32', [sample.tokens, sum.length / width], residual),
            sampleStride: tensor('f64', [], Float64Array.of(sample.stride)),
          }
        : {}),
    };
  },
  deserialize: ({ sum, count, sampleInputs, sampleErrors, sampleResiduals, sampleStride }) => {
    const sample = createTokenSample(sampledTokens, 3);
    if (sampleInputs)
      sample.restore(
        [sampleInputs, sampleErrors, sampleResiduals].map(({ data }) => data as Float32Array),
        sampleInputs.shape[0],
        Number(sampleStride.data[0]),
        Number(count.data[0]),
      );
    return { width: sum.shape[1], sum: sum.data as Float64Array, count: Number(count.data[0]), sample };
  },
  bytes: (width) => width * width * 8 + sampledTokens * width * 12,
};
