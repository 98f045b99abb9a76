import { absMax, type Scheme, SchemeError, type Tuner } from '@q/core';
import { refuseActivationScheme } from './activations/fake-quantize.js';
import { type QuantizedRuntimeOptions, quantizedRuntime } from './activations/quantized-runtime.js';
import { trainedParameters } from './memory.js';
import { adamW } from './optimizers/adamw.js';
import { cosine } from './optimizers/schedule.js';
import { learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { refitted } from './parameters/refitted.js';
import { refuseReordered } from './qaft.js';
import { nearestInCells } from './start-weights.js';
import { forecastTuning, type ModelTuning, stepsOf, tunedModules, tuneModel } from './tune-model.js';

export interface LlmQatOptions {
  /** Inputs of the linears: dynamic, symmetric, one scale a token in the paper. Unquantized when absent. */
  readonly activations?: Scheme;
  /** Keys, before their rotation, and values: one scale a token over all heads in the paper. Unquantized when absent. */
  readonly cache?: Scheme;
  /**
   * `learned` (default): scales and zero points are trained beside the weights and start at the quantizer's. `minMax`: as in the
   * paper, scales follow the largest weight of each row; the scheme must be symmetric.
   */
  readonly weights?: 'learned' | 'minMax';
  /** Passes over the windows. Default 20; the paper makes one over a hundred thousand windows. */
  readonly epochs?: number;
  /** Windows a step. Default 8. */
  readonly batch?: number;
  /** Peak learning rate of the weights. Default 3e-4; the paper has 2e-5 for its many steps. */
  readonly rate?: number;
  /** Steps of linear warm-up before the cosine. Default 20. */
  readonly warmUp?: number;
  /** Default 1. */
  readonly clipNorm?: number;
  readonly heldOut?: number;
  readonly patience?: number;
  readonly checkpointing?: boolean;
  /** Bytes that training may take; more is refused with the batch that fits. Default: no limit. */
  readonly memory?: number;
}

/**
 * LLM-QAT (arXiv 2305.17888): the quantized model learns the unquantized one's logits, by KL alone, on text which that one has
 * written itself (`selfGeneratedWindows` of `@q/calib`), with weights, activations and cache quantized as they will run.
 */
export function llmQat(options: LlmQatOptions = {}): Tuner {
  const { activations, cache, weights = 'learned', epochs = 20, batch = 8, rate = 3e-4, warmUp = 20 } = options;
  const { clipNorm = 1, heldOut = 0, patience = 3, checkpointing = false } = options;
  for (const [what, scheme] of [
    ['activations', activations],
    ['cache', cache],
  ] as const) {
    const refusal = scheme && refuseActivationScheme(scheme);
    if (refusal) throw new SchemeError(`llm-qat, ${what}: ${refusal}`);
  }
  const settings = { epochs, batch, accumulate: 1, heldOut, patience, clipNorm, checkpointing };
  const runtime: QuantizedRuntimeOptions = { activations, cache };
  const quantizesRuntime = activations !== undefined || cache !== undefined;
  const tuning = (count: number): ModelTuning => ({
    ...settings,
    loss: { labels: 0, teacher: 1 },
    parameterize(original, start) {
      refuseReordered(start);
      return weights === 'minMax'
        ? refitted(original, start.scheme, { fit: absMax({ range: 'narrow' }) })
        : learnedStep(nearestInCells(original, start), start.scheme, start);
    },
    optimizer: adamW(),
    rates: { weight: rate, scale: 1e-4, zero: 1e-3 },
    schedule: cosine({ warmUp: Math.min(warmUp, Math.floor(stepsOf(settings, count) / 4)) }),
    memory: options.memory ?? Number.POSITIVE_INFINITY,
    trainsWeights: true,
    ...(quantizesRuntime ? { wrap: (inner) => quantizedRuntime(inner, runtime) } : {}),
    task: 'llm-qat',
  });
  return {
    name: 'llm-qat',
    options: { ...settings, rate, warmUp, weights, activations, cache },
    refuse: (scheme) =>
      weights === 'minMax' && scheme.zeroPoint !== 'none'
        ? 'llm-qat with min-max weights has no zero points: ask for a symmetric scheme'
        : refuseLearnedStep(scheme),
    forecast: (model, modules, windows) => forecastTuning(model, modules, windows, tuning(windows.count)),
    async tune(input, context) {
      const { modules, result, notes } = await tuneModel(input, tuning(input.windows.count), context);
      const inside = [
        activations && `${activations.format.bits}-bit inputs`,
        cache && `a ${cache.format.bits}-bit cache`,
      ];
      return {
        modules: new Map([...modules].map(([module, each]) => [module, each.quantized()])),
        figures: {
          steps: result.steps,
          loss: result.loss,
          trainedParameters: trainedParameters(tunedModules(input), true),
          secondsPerStep: result.secondsPerStep,
          ...(result.bestLoss === undefined ? {} : { heldOutLoss: result.bestLoss }),
        },
        notes: [
          ...notes,
          ...(quantizesRuntime
            ? [
                `trained for ${inside.filter(Boolean).join(' and ')}: the folder holds the weights, the runtime must be told to quantize the rest`,
              ]
            : []),
        ],
      };
    },
  };
}
