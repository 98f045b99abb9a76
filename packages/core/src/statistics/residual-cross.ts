import { CalibrationError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';
import { tensor } from '../tensor.js';
import { checkWidth } from './hessian.js';
import { createTokenSample, type TokenSample } from './token-sample.js';

/**
 * Sum of `e x^T` over tokens, where `e` is the error of the residual stream that a linear adds to. With `wholeOutput` it
 * is the sum of `z x^T`, where `z` is the output for which the stream after the linear equals that of the unquantized
 * model.
 */
export interface ResidualCrossState {
  readonly width: number;
  /** `[hidden, width]`, f64; empty for linears that do not add to the residual stream. */
  sum: Float64Array;
  count: number;
  wholeOutput: boolean;
  /**
   * Single tokens: `x` `[width]`, `e` or `z` `[hidden]` and the residual stream that the linear adds to `[hidden]`. The
   * few tokens with the largest activations dominate a sum over tokens; the sample shows the effect of a change on all
   * others.
   */
  readonly sample: TokenSample;
}

/** Tokens in the sample: enough to compare two results, at a small share of the memory and time of the sums. */
const sampledTokens = 256;

/**
 * The error of the residual stream multiplied by a linear's inputs. A linear that writes to the stream can then
 * compensate for errors of earlier layers. Needs `wanted` or `residualError` next to `x`; without them the state stays
 * empty. Without `residual` the sample stays empty. With `wanted` one product of `[hidden, width]` a token replaces the
 * `[width, width]` product of {@link inputShift} and the one of this statistic without it: this saves 5.4 of 9.1 MFLOP
 * a token and block of SmolLM2-135M.
 */
export const residualCross: Statistic<ResidualCrossState> = {
  name: 'residualCross',
  paired: true,
  outputs: true,
  create: (width) => ({
    ...{ width, count: 0, wholeOutput: false },
    sum: new Float64Array(0),
    sample: createTokenSample(sampledTokens, 3),
  }),
  async update(state, { x, residualError, wanted, residual, tokens, width }, kernels) {
    checkWidth('residualCross', state.width, width);
    state.count += tokens;
    const left = wanted ?? residualError;
    if (!left) return;
    if (residual && residual.length !== left.length)
      throw new CalibrationError(
        `residualCross got a residual stream of ${residual.length} values and an error of ${left.length}`,
      );
    const hidden = left.length / tokens;
    if (state.sum.length === 0) {
      state.sum = new Float64Array(hidden * width);
      state.wholeOutput = wanted !== undefined;
    }
    refuseMixture(state.wholeOutput, wanted !== undefined);
    const part = await kernels.matmul({ a: left, b: x, m: hidden, n: width, k: tokens, transposeA: true });
    for (let i = 0; i < part.length; i++) state.sum[i] += part[i];
    if (residual) state.sample.add([x, left, residual], tokens);
  },
  merge(state, other) {
    checkWidth('residualCross', state.width, other.width);
    if (other.sum.length === 0) {
      state.count += other.count;
      return;
    }
    if (state.sum.length === 0) {
      state.sum = new Float64Array(other.sum.length);
      state.wholeOutput = other.wholeOutput;
    }
    refuseMixture(state.wholeOutput, other.wholeOutput);
    for (let i = 0; i < other.sum.length; i++) state.sum[i] += other.sum[i];
    state.count += other.count;
    state.sample.merge(other.sample);
  },
  count: (state) => state.count,
  serialize: ({ width, sum, count, wholeOutput, sample }) => {
    const [x, error, residual] = sample.columns();
    return {
      sum: tensor('f64', [sum.length / width, width], sum),
      count: tensor('f64', [], Float64Array.of(count)),
      ...(wholeOutput ? { wholeOutput: tensor('f64', [], Float64Array.of(1)) } : {}),
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
  deserialize: ({ sum, count, wholeOutput, sampleInputs, sampleErrors, sampleResiduals, sampleStride }) => {
    const sample = createTokenSample(sampledTokens, 3);
    if (sampleInputs)
      sample.restore(
        [sampleInputs, sampleErrors, sampleResiduals].map(({ data }) => data as Float32Array),
        sampleInputs.shape[0],
        Number(sampleStride.data[0]),
        Number(count.data[0]),
      );
    return {
      ...{ width: sum.shape[1], sum: sum.data as Float64Array, count: Number(count.data[0]) },
      ...{ wholeOutput: wholeOutput !== undefined, sample },
    };
  },
  bytes: (width) => width * width * 8 + sampledTokens * width * 12,
};

function refuseMixture(has: boolean, comes: boolean): void {
  if (has !== comes) throw new CalibrationError('residualCross got the wanted output of some tokens and not of others');
}
