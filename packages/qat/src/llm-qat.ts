import { absMax, type Scheme, SchemeError, type Tuner } from '@q/core';
import { refuseActivationScheme } from './activations/fake-quantize.js';
import { type QuantizedRuntimeOptions, quantizedRuntime } from './activations/quantized-runtime.js';
import { learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { refitted } from './parameters/refitted.js';
import { refuseReordered } from './qaft.js';
import { nearestInCells } from './start-weights.js';
import { trainsWeights, type WeightTrainingOptions } from './weight-training.js';

/** The paper makes one pass over a hundred thousand windows, where 20 over few are the default here. */
export interface LlmQatOptions extends Omit<WeightTrainingOptions, 'rates'> {
  /** Inputs of the linears: dynamic, symmetric, one scale a token in the paper. Unquantized when absent. */
  readonly activations?: Scheme;
  /** Keys, before their rotation, and values: one scale a token over all heads in the paper. Unquantized when absent. */
  readonly cache?: Scheme;
  /**
   * `learned` (default): scales and zero points are trained beside the weights and start at the quantizer's. `minMax`: as in the
   * paper, scales follow the largest weight of each row; the scheme must be symmetric.
   */
  readonly weights?: 'learned' | 'minMax';
  /** Peak learning rate of the weights. Default 6e-4 at 2 bits, 3 / (codes - 1) of it at others; the paper has 2e-5 for its many steps. */
  readonly rate?: number;
}

/**
 * LLM-QAT (arXiv 2305.17888): the quantized model learns the unquantized one's logits, by KL alone, on text which that one has
 * written itself (`selfGeneratedWindows` of `@q/calib`), with weights, activations and cache quantized as they will run.
 */
export function llmQat(options: LlmQatOptions = {}): Tuner {
  const { activations, cache, weights = 'learned', rate, ...shared } = options;
  for (const [what, scheme] of [
    ['activations', activations],
    ['cache', cache],
  ] as const) {
    const refusal = scheme && refuseActivationScheme(scheme);
    if (refusal) throw new SchemeError(`llm-qat, ${what}: ${refusal}`);
  }
  const runtime: QuantizedRuntimeOptions = { activations, cache };
  const quantizesRuntime = activations !== undefined || cache !== undefined;
  const inside = [activations && `${activations.format.bits}-bit inputs`, cache && `a ${cache.format.bits}-bit cache`];
  const training = trainsWeights(rate === undefined ? shared : { ...shared, rates: { weight: rate } }, {
    loss: { labels: 0, teacher: 1 },
    parameterize(original, start, { kernels }) {
      refuseReordered(start);
      return weights === 'minMax'
        ? refitted(original, start.scheme, { fit: absMax({ range: 'narrow' }) })
        : learnedStep(nearestInCells(original, start), start.scheme, start, { grids: kernels.grids });
    },
    ...(quantizesRuntime ? { wrap: (inner, model) => quantizedRuntime(inner, model, runtime) } : {}),
    task: 'llm-qat',
  });
  return {
    name: 'llm-qat',
    options: { ...training.options, weights, activations, cache },
    refuse: (scheme) =>
      weights === 'minMax' && scheme.zeroPoint !== 'none'
        ? 'llm-qat with min-max weights has no zero points: ask for a symmetric scheme'
        : refuseLearnedStep(scheme),
    forecast: training.forecast,
    async tune(input, context) {
      const result = await training.tune(input, context);
      if (!quantizesRuntime) return result;
      const note = `trained for ${inside.filter(Boolean).join(' and ')}: the folder holds the weights, the runtime must be told to quantize the rest`;
      return { ...result, notes: [...result.notes, note] };
    },
  };
}
