import { type Context, type OutputMomentsState, outputMoments } from '@q/core';
import { type OutputGradientsOptions, outputGradients } from './output-gradients.js';

/** Weight of each calibration token for each linear, `[count * length]`, by module. */
export type TokenWeights = ReadonlyMap<string, Float32Array>;

/**
 * For each token, the mean over a linear's outputs of the squared derivative of the end loss (GuidedQuant, arXiv
 * 2505.07004, with one group of output channels). A solver whose Hessian sums `s_t x_t x_t^T` minimises the end loss's
 * own estimate of the error, instead of giving all tokens the same weight.
 *
 * All weights have the same unit, so errors of different linears can be compared: `sum over t of s_t |D x_t|^2`
 * estimates twice the KL divergence that the difference `D` of a linear's weight causes.
 */
export async function tokenWeights<T>(
  options: Omit<OutputGradientsOptions<T>, 'inputs'>,
  context: Context,
): Promise<TokenWeights> {
  return (await endLossStatistics(options, context, false)).tokens;
}

/** The results of one backward pass for each linear, by module. */
export interface EndLoss {
  readonly tokens: TokenWeights;
  /**
   * `G^T G` of the derivatives by a linear's outputs, states of `outputMoments`. Empty if they were not requested.
   */
  readonly outputs: ReadonlyMap<string, OutputMomentsState>;
}

/**
 * Weights of tokens as in {@link tokenWeights}, and the second moments `[out, out]` of the derivatives by the outputs
 * of each linear. These moments are the output factor of the end loss's curvature (YAQA, arXiv 2505.22988); the weights
 * make its input factor.
 */
export async function endLossStatistics<T>(
  options: Omit<OutputGradientsOptions<T>, 'inputs'>,
  context: Context,
  wantsOutputs = true,
): Promise<EndLoss> {
  const { count, length } = options.windows;
  const tokens = new Map<string, Float32Array>();
  const outputs = new Map<string, OutputMomentsState>();
  await outputGradients(
    options,
    async ({ module, firstToken, gradient }) => {
      let own = tokens.get(module);
      if (!own) tokens.set(module, (own = new Float32Array(count * length)));
      const seen = Math.min((options.batch ?? 4) * length, count * length - firstToken);
      own.set(meanSquares(gradient, seen), firstToken);
      if (!wantsOutputs) return;
      const width = gradient.length / seen;
      let moments = outputs.get(module);
      if (!moments) outputs.set(module, (moments = outputMoments.create(width)));
      await outputMoments.update(moments, { x: gradient, tokens: seen, width }, context.kernels);
    },
    context,
  );
  return { tokens, outputs };
}

function meanSquares(gradient: Float32Array, tokens: number): Float32Array {
  const width = gradient.length / tokens;
  return Float32Array.from({ length: tokens }, (_, token) => {
    let sum = 0;
    for (let i = token * width; i < (token + 1) * width; i++) sum += gradient[i] * gradient[i];
    return sum / width;
  });
}

export interface SolverWeightsOptions {
  /**
   * Weights beyond this quantile are limited to it, because single tokens with huge gradients would decide everything.
   * Default 0.999.
   */
  readonly quantile?: number;
  /** Exponent of the weights: 1 is the estimate itself, 0 gives all tokens the same weight. Default 1. */
  readonly strength?: number;
}

/**
 * Weights for the Hessian that linears with one input share: the mean over the linears, limited at a quantile, with
 * mean 1 over the tokens, so damping and counts keep their meaning.
 * @param weights of the linears, each `[tokens]`
 */
export function solverWeights(
  weights: readonly Float32Array[],
  { quantile = 0.999, strength = 1 }: SolverWeightsOptions = {},
): Float32Array {
  const tokens = weights[0].length;
  const mean = new Float32Array(tokens);
  for (let t = 0; t < tokens; t++) {
    let sum = 0;
    for (const own of weights) sum += own[t];
    mean[t] = sum / weights.length;
  }
  const sorted = mean.slice().sort();
  const limit = sorted[Math.min(tokens - 1, Math.floor(quantile * tokens))];
  let total = 0;
  for (let t = 0; t < tokens; t++) {
    mean[t] = Math.min(mean[t], limit) ** strength;
    total += mean[t];
  }
  // The loss does not depend on the linear, so all tokens get the same weight.
  if (!(total > 0)) return mean.fill(1);
  const scale = tokens / total;
  for (let t = 0; t < tokens; t++) mean[t] *= scale;
  return mean;
}
