import {
  checkOptions,
  number,
  type OptionValues,
  type OutputMomentsState,
  outputMoments,
  outputMomentsMatrix,
  type Quantizer,
} from '@q/core';
import { type GptqOptions, gptqWith } from './gptq.js';
import { refineOutputs } from './refine-outputs.js';

export const endLossOptions = {
  /**
   * Exponent of the weights of tokens by their squared gradients (GuidedQuant, arXiv 2505.07004), from 0 (equal
   * weights) to 1 (the full estimate, valid for small errors). Above 0 the gradients of all windows are needed, instead
   * of a quarter of them. Default 0.
   */
  tokens: number({
    min: 0,
    max: 1,
    default: 0,
    help: 'With the end loss as objective, exponent of the weights of tokens; 0: equal weights.',
  }),
  /**
   * Share of the gradients' own second moments in the factor for outputs; the rest is that of equal and independent
   * outputs ({@link refineOutputs}). From 0 to below 1. 0: only rows. Default: {@link shareOf} the tokens.
   */
  outputs: number({
    min: 0,
    below: 1,
    otherwise: 'tokens / (tokens + 2 outputs)',
    help: "With the end loss as objective, share of the gradients' own second moments in the factor for outputs.",
  }),
};

/**
 * A note warns below this number of tokens for each output. With about one token for each output of the widest linear
 * (demo model, 2 bits) the KL divergence was 3.2 times the default's, with six (stories260K, 2 bits) 1.10 times, with
 * twelve (llama-5m, 3 bits) 0.76 times.
 */
const tokensAnOutput = 10;

export type GptqEndLossOptions = GptqOptions & OptionValues<typeof endLossOptions>;

/**
 * GPTQ with an estimate of the loss at the end of the model as objective, from gradients of the unquantized model.
 * Tokens may be weighted. After the rows, codes and scales are refined across outputs. The pipeline needs `endLoss`.
 * @throws SchemeError for an option out of its range, or two that exclude each other
 */
export function gptqEndLoss({ tokens, outputs, ...options }: GptqEndLossOptions = {}): Quantizer {
  const own = checkOptions('gptq', endLossOptions, {
    ...(tokens === undefined ? {} : { tokens }),
    ...(outputs === undefined ? {} : { outputs }),
  });
  return gptqWith(options, {
    options: { objective: 'end-loss', ...own },
    endLoss: { tokens: own.tokens, outputs: own.outputs !== 0 },
    async refine(problem, statistics, rounds, kernels) {
      if (own.outputs === 0) return undefined;
      const state = statistics.get(outputMoments);
      const moments = dampedMoments(state, own.outputs ?? shareOf(state));
      if (!moments) return undefined;
      refineOutputs({ ...problem, outputs: moments }, rounds, kernels);
      return state.count >= tokensAnOutput * state.width
        ? undefined
        : `the end loss's gradients come from ${state.count} tokens for ${state.width} outputs: below ${tokensAnOutput} for each the result may be worse than without them, so give more calibration text`;
    },
  });
}

/**
 * The share that the moments of n tokens get for p outputs, n / (n + 2 p): the noise of their eigenvalues grows with
 * p / n.
 */
const shareOf = ({ count, width }: OutputMomentsState): number => count / (count + 2 * width);

/**
 * `share G + (1 - share) mean(diag G) I` with mean diagonal 1: the moments are sums over drawn labels, and their
 * product with H is only an estimate. Undefined if the end loss does not depend on the linear.
 */
function dampedMoments(state: OutputMomentsState, share: number): Float32Array | undefined {
  const { width, sum } = state;
  let trace = 0;
  for (let i = 0, at = 0; i < width; at += width - i++) trace += sum[at];
  if (!(trace > 0)) return undefined;
  const outputs = outputMomentsMatrix(state, (share * width) / trace);
  for (let i = 0; i < width; i++) outputs[i * width + i] += 1 - share;
  return outputs;
}
