import type { Tuner } from '@q/core';
import type { LossWeights } from './objectives/model-loss.js';
import { adamW } from './optimizers/adamw.js';
import { cosine } from './optimizers/schedule.js';
import { frozenCodes } from './parameters/frozen-codes.js';
import { refuseLearnedStep } from './parameters/learned-step.js';
import { forecastTuning, type ModelTuning, quantizedModules, stepsOf, tuneModel, tuningFigures } from './tune-model.js';

export interface PeqaOptions {
  /** `labels` (default): the next token, to learn a task. `teacher`: the unquantized model, to recover what rounding lost. */
  readonly loss?: 'labels' | 'teacher' | LossWeights;
  /** Default 5. */
  readonly epochs?: number;
  /** Windows a step. Default 8. */
  readonly batch?: number;
  /** Peak learning rate of the scales. Default 1e-4. */
  readonly rate?: number;
  /** Steps of linear warm-up before the cosine. Default 0. */
  readonly warmUp?: number;
  /** Share of the peak rate at the end. Default 0. */
  readonly finalRate?: number;
  /** Default 1. */
  readonly clipNorm?: number;
  readonly heldOut?: number;
  readonly patience?: number;
  readonly checkpointing?: boolean;
  readonly memory?: number;
}

const lossWeights = { teacher: { labels: 0, teacher: 1 }, labels: { labels: 1, teacher: 0 } } as const;

/** How scales alone are trained; PEQA, and the second phase of EfficientQAT. */
export function scalesTuning(options: PeqaOptions, count: number): ModelTuning {
  const { loss = 'labels', epochs = 5, batch = 8, rate = 1e-4, warmUp = 0, finalRate = 0, clipNorm = 1 } = options;
  const { heldOut = 0, patience = 3, checkpointing = false } = options;
  const settings = { epochs, batch, accumulate: 1, heldOut };
  return {
    ...settings,
    parameterize: (_original, start) => frozenCodes(start),
    loss: typeof loss === 'string' ? lossWeights[loss] : loss,
    optimizer: adamW({ beta2: 0.999 }),
    schedule: cosine({ warmUp: Math.min(warmUp, Math.floor(stepsOf(settings, count) / 4)), final: finalRate }),
    rates: { scale: rate },
    clipNorm,
    patience,
    checkpointing,
    memory: options.memory ?? Number.POSITIVE_INFINITY,
    trainsWeights: false,
    task: 'scales',
  };
}

/**
 * Parameter-efficient and quantization-aware adaptation (PEQA, arXiv 2305.14152): the integers stay as the quantizer made
 * them, the scales learn. A task is its scales: see `tasks` for keeping several beside one set of integers.
 */
export function peqa(options: PeqaOptions = {}): Tuner {
  const { loss, epochs, batch, rates, clipNorm, heldOut } = scalesTuning(options, 1);
  const { warmUp = 0, finalRate = 0 } = options;
  return {
    name: 'peqa',
    options: { loss, epochs, batch, rates, clipNorm, heldOut, warmUp, finalRate },
    refuse: refuseLearnedStep,
    forecast: (model, modules, windows) =>
      forecastTuning(model, modules, windows, scalesTuning(options, windows.count)),
    async tune(input, context) {
      const tuned = await tuneModel(input, scalesTuning(options, input.windows.count), context);
      return { modules: quantizedModules(tuned), figures: tuningFigures(tuned), notes: tuned.notes };
    },
  };
}
