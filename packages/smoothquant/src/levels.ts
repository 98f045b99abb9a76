import { type ActivationScheme, f32Scale, int8, perChannel, perTensor, perToken, type Scheme, scheme } from '@q/core';

/** The schemes of weights and inputs: a preset of the paper's table 2. */
export interface Level {
  readonly weight: Scheme;
  readonly activation: ActivationScheme;
}

const weightPerTensor = scheme({ format: int8, granularity: perTensor, scaleStorage: f32Scale });
const weightPerChannel = scheme({ format: int8, granularity: perChannel, scaleStorage: f32Scale });
const inputs = (granularity: Scheme['granularity'], dynamic: boolean): ActivationScheme => ({
  scheme: scheme({ format: int8, granularity, scaleStorage: f32Scale, dynamic }),
});

/** Weights per tensor, activations per token with dynamic scales: the most accurate of the paper's three. */
export const o1: Level = { weight: weightPerTensor, activation: inputs(perToken, true) };
/** Weights per tensor, one dynamic scale for all tokens. */
export const o2: Level = { weight: weightPerTensor, activation: inputs(perTensor, true) };
/** Weights per tensor, one calibrated scale: nothing is measured at run time, the fastest of the three. */
export const o3: Level = { weight: weightPerTensor, activation: inputs(perTensor, false) };
/** Weights per output channel, activations per token: the official code's setting for Llama models, and vLLM's W8A8. */
export const perChannelPerToken: Level = { weight: weightPerChannel, activation: inputs(perToken, true) };

/** The levels by their names in recipes. */
export const levels: Readonly<Record<string, Level>> = { o1, o2, o3, 'per-channel': perChannelPerToken };
