import { type Context, type HessianState, outputMoments } from '@q/core';
import { type OutputGradientsOptions, outputGradients } from './output-gradients.js';

/** Weight of each calibration token for each linear, `[count * length]`, by module. */
export type TokenWeights = ReadonlyMap<string, Float32Array>;

/**
 * The mean over a linear's outputs of the squared derivative of the end loss, for each token (GuidedQuant, arXiv 2505.07004, with one
 * group of output channels). A solver whose Hessian sums `s_t x_t x_t^T` minimises the end loss's own estimate of the error
 * instead of treating all tokens alike.
 *
 * All weights have one unit, so that errors of different linears compare: `sum over t of s_t |D x_t|^2` estimates twice the
 * KL divergence that the difference `D` of a linear's weight causes.
 */
export async function tokenWeights<T>(
  options: Omit<OutputGradientsOptions<T>, 'inputs'>,
  context: Context,
): Promise<TokenWeights> {
  return (await endLossStatistics(options, context, false)).tokens;
}

/** What one backward pass says about each linear, by module. */
export interface EndLoss {
  readonly tokens: TokenWeights;
  /** `G^T G` of the derivatives by a linear's outputs, for `outputMoments` of core. Empty where they were not asked for. */
  readonly outputs: ReadonlyMap<string, HessianState>;
}

/**
 * Weights of tokens as {@link tokenWeights} gives them, and the second moments of the derivatives by the outputs of each linear
 * `[out, out]`: the factor for outputs of the end loss's curvature (YAQA, arXiv 2505.22988), whose factor for inputs the weights make.
 */
export async function endLossStatistics<T>(
  options: Omit<OutputGradientsOptions<T>, 'inputs'>,
  context: Context,
  wantsOutputs = true,
): Promise<EndLoss> {
  const { count, length } = options.windows;
  const tokens = new Map<string, Float32Array>();
  const outputs = new Map<string, HessianState>();
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
  /** Weights beyond this quantile are cut: single tokens with huge gradients would decide everything. Default 0.999. */
  readonly quantile?: number;
  /** Exponent: 1 is the estimate itself, 0 treats all tokens alike. Default 1. */
  readonly strength?: number;
}

/**
 * Weights for the Hessian that linears with one input share: the mean over the linears, cut at a quantile, with mean 1 over
 * the tokens, so that damping and counts keep their meaning.
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
  // A linear that the loss does not depend on: all tokens alike.
  if (!(total > 0)) return mean.fill(1);
  const scale = tokens / total;
  for (let t = 0; t < tokens; t++) mean[t] *= scale;
  return mean;
}
