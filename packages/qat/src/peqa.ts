import { checkOptions, codeOnly, type Method, number, type OptionValues, pickOptions, type Tuner } from '@q/core';
import { adamW } from './optimizers/adamw.js';
import { cosine } from './optimizers/schedule.js';
import { frozenCodes } from './parameters/frozen-codes.js';
import { refuseLearnedStep } from './parameters/learned-step.js';
import { epochsOption, fineTrainingOptions, isCount, lossOption, sharedTrainingOptions } from './training-options.js';
import { forecastTuning, type ModelTuning, quantizedModules, stepsOf, tuneModel, tuningFigures } from './tune-model.js';

export const peqaOptions = {
  ...sharedTrainingOptions,
  ...fineTrainingOptions,
  /**
   * `labels` (default): the next token, to learn a task. `teacher`: the unquantized model, to recover the loss of
   * rounding.
   */
  loss: lossOption('labels'),
  /** Passes over the windows. Default 5. */
  epochs: epochsOption(5),
  /** Peak learning rate of the scales. Default 1e-4. */
  rate: number({ above: 0, below: 1, default: 1e-4, help: 'Peak learning rate of the trained parameters.' }),
  /** Steps of linear warm-up before the cosine. Default 0. */
  warmUp: codeOnly<number>('a whole number', (value) => isCount(value) || value === 0, {
    default: 0,
    help: 'Steps of linear warm-up before the cosine.',
  }),
  /** Share of the peak rate at the end. Default 0. */
  finalRate: codeOnly<number>('a number from 0 to 1', (value) => (value as number) >= 0 && (value as number) <= 1, {
    default: 0,
    help: 'Share of the peak rate at the end.',
  }),
};

export type PeqaOptions = OptionValues<typeof peqaOptions>;

const lossWeights = { teacher: { labels: 0, teacher: 1 }, labels: { labels: 1, teacher: 0 } } as const;

/** Settings of a training of scales alone, for PEQA and for the second phase of EfficientQAT. */
export function scalesTuning(options: PeqaOptions, count: number): ModelTuning {
  const { loss, epochs, batch, rate, warmUp, finalRate, clipNorm, heldOut, patience, checkpointing } = checkOptions(
    'peqa',
    peqaOptions,
    options,
  );
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
 * Parameter-efficient and quantization-aware adaptation (PEQA, arXiv 2305.14152): the quantizer's integers stay, and
 * the scales are trained. A task is a set of scales: see `tasks` for several tasks with one set of integers.
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

const methodOptions = pickOptions(
  peqaOptions,
  ...(['epochs', 'batch', 'heldOut', 'checkpointing', 'memory', 'loss', 'rate'] as const),
);

/** The declaration of the method for the command and recipes. */
export const peqaMethod: Method<typeof methodOptions> = {
  name: 'peqa',
  summary: 'trains the scales alone, starting from GPTQ; its integers stay',
  options: methodOptions,
  base: { method: 'gptq' },
  tuner: peqa,
};
