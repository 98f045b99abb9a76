import type { Context } from '@q/core';
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
  const { count, length } = options.windows;
  const weights = new Map<string, Float32Array>();
  await outputGradients(
    options,
    ({ module, firstToken, gradient }) => {
      let own = weights.get(module);
      if (!own) weights.set(module, (own = new Float32Array(count * length)));
      const last = firstToken + Math.min(options.batch ?? 4, count - firstToken / length) * length;
      own.set(meanSquares(gradient, last - firstToken), firstToken);
    },
    context,
  );
  return weights;
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
