import {
  type Context,
  codeOnly,
  type NumberFormat,
  type OptionValues,
  type Tuner,
  type TunerInput,
  type TunerResult,
} from '@q/core';
import { adamW } from './optimizers/adamw.js';
import { cosine } from './optimizers/schedule.js';
import { levelCount } from './parameters/learned-step.js';
import { epochsOption, fineTrainingOptions, isCount, isRates, sharedTrainingOptions } from './training-options.js';
import { forecastTuning, type ModelTuning, quantizedModules, stepsOf, tuneModel, tuningFigures } from './tune-model.js';

/** Options of every training of weights, scales and zero points together on the end loss. */
export const weightTrainingOptions = {
  ...sharedTrainingOptions,
  ...fineTrainingOptions,
  /** Passes over the windows. Default 20. */
  epochs: epochsOption(20),
  /** Batches a step, their gradients averaged. Default 1. */
  accumulate: codeOnly<number>('a whole number of at least 1', isCount, { default: 1, help: 'Batches a step.' }),
  /**
   * Peak learning rates. Default: 6e-4 for weights, 2e-4 for scales, 1e-3 for zero points. The rates of weights and
   * scales are for 2 bits. At more bits they are multiplied by the relative distance of two codes. A given rate is used
   * unchanged.
   */
  rates: codeOnly<{ readonly weight?: number; readonly scale?: number; readonly zero?: number }>(
    'an object of rates for weight, scale and zero',
    isRates,
    { help: 'Peak learning rates by the kind of parameter.' },
  ),
  /** Steps of linear warm-up before the cosine. Default 20, at most a quarter of all steps. */
  warmUp: codeOnly<number>('a whole number', (value) => isCount(value) || value === 0, {
    default: 20,
    help: 'Steps of linear warm-up before the cosine.',
  }),
  /** Steps between checkpoints. Default: an epoch. */
  saveEvery: codeOnly<number>('a whole number of at least 1', isCount, { help: 'Steps between checkpoints.' }),
};

export type WeightTrainingOptions = OptionValues<typeof weightTrainingOptions>;

/** The settings in which such trainings differ. */
export type WeightTraining = Pick<ModelTuning, 'parameterize' | 'loss' | 'wrap' | 'task'>;

/** A tuner without its name, its options beyond {@link WeightTrainingOptions}, and its refusals. */
export interface TrainsWeights extends Pick<Tuner, 'options' | 'forecast'> {
  tune<T>(input: TunerInput<T>, context: Context): Promise<TunerResult>;
}

/** Trains with AdamW and a cosine with warm-up, for QAFT and LLM-QAT. */
export function trainsWeights(options: WeightTrainingOptions, training: WeightTraining): TrainsWeights {
  const { epochs = 20, batch = 8, accumulate = 1, warmUp = 20, clipNorm = 1, heldOut = 0, patience = 3 } = options;
  const { checkpointing = false, saveEvery, memory = Number.POSITIVE_INFINITY } = options;
  const rates = { weight: 6e-4, scale: 2e-4, zero: 1e-3, ...options.rates };
  const ratesOfTwoBits: readonly string[] = (['weight', 'scale'] as const).filter(
    (role) => options.rates?.[role] === undefined,
  );
  const settings = { epochs, batch, accumulate, rates, clipNorm, heldOut, patience, checkpointing };
  const tuning = (count: number): ModelTuning => ({
    ...{ ...settings, ...training, saveEvery, memory, trainsWeights: true },
    rateFactor: ({ format }, role) => (ratesOfTwoBits.includes(role) ? cellShare(format) : 1),
    optimizer: adamW(),
    schedule: cosine({ warmUp: Math.min(warmUp, Math.floor(stepsOf(settings, count) / 4)) }),
  });
  return {
    options: { ...settings, ratesOfTwoBits, warmUp, loss: training.loss },
    forecast: (model, modules, windows) => forecastTuning(model, modules, windows, tuning(windows.count)),
    async tune(input, context) {
      const tuned = await tuneModel(input, tuning(input.windows.count), context);
      return { modules: quantizedModules(tuned), figures: tuningFigures(tuned), notes: tuned.notes };
    },
  };
}

/**
 * The factor of a rate that suits 2 bits. A step of Adam has one size for every gradient, and its effect on a code
 * depends on the distance of the next code: the range has 3 such distances at 2 bits, 15 at 4 bits.
 */
export function cellShare(format: NumberFormat): number {
  return 3 / (levelCount({ format }) - 1);
}
