import {
  checkOptions,
  choice,
  integer,
  type Method,
  number,
  type OptionValues,
  pickOptions,
  type Tuner,
} from '@q/core';
import { forecastTraining, memoryFigures, trainedParameters } from './memory.js';
import { linearDecay } from './optimizers/schedule.js';
import { signSgd } from './optimizers/sign-sgd.js';
import { refuseSignedRounding, signedRounding } from './parameters/signed-rounding.js';
import { refuseReordered } from './qaft.js';
import { nearestInCells } from './start-weights.js';
import { sharedTrainingOptions } from './training-options.js';
import { tuneBlocks } from './tune-blocks.js';
import { tunedModules } from './tune-model.js';

export const signRoundOptions = {
  ...pickOptions(sharedTrainingOptions, 'batch'),
  /** Training steps of each block. Default 200. */
  steps: integer({ min: 1, default: 200, help: 'Training steps of each block.' }),
  /**
   * First step size of offsets and range factors; falls linearly to 0. Default `1 / steps` from the weights, as in the paper, so that an
   * offset can cross its whole range; a quarter of that from a quantizer's codes, of which most are right.
   */
  rate: number({
    above: 0,
    below: 1,
    otherwise: '1/4 of 1/steps',
    help: 'Peak learning rate of what is trained.',
  }),
  /**
   * The range that the factors shrink. `grid` (default): the one that the quantizer's scales and zero points span.
   * `values`: the smallest and largest weight, as in the paper.
   */
  range: choice(['grid', 'values'], {
    default: 'grid',
    help: "The range that the factors shrink: that of the quantizer's grid, or that of the weights.",
  }),
  /**
   * Which weights the offsets are added to. `codes` (default): those nearest to the original ones that round to what the quantizer
   * chose, so that training starts at its result: GPTQ's. `weights`: the original ones, for grids of round-to-nearest.
   */
  startFrom: choice(['codes', 'weights'], {
    default: 'codes',
    help: "Where the weights start: next to the quantizer's codes, or at the original weights.",
  }),
};

export type SignRoundOptions = OptionValues<typeof signRoundOptions>;

/**
 * SignRound (AutoRound, arXiv 2309.05516): rounding offsets and range factors of one block at a time by the sign of their
 * gradients, against what the unquantized model has behind the block; inputs come from the blocks quantized before it.
 * The iterate with the least error is kept.
 */
export function signRound(options: SignRoundOptions = {}): Tuner {
  const { steps, batch, range, startFrom } = checkOptions('signround', signRoundOptions, options);
  const rate = options.rate ?? (startFrom === 'codes' ? 1 / 4 : 1) / steps;
  const shape = { batch, checkpointing: false, optimizer: signSgd(), weights: true, teacher: false, blockWise: true };
  const forecast: Tuner['forecast'] = (model, modules, windows) =>
    forecastTraining(model, modules, windows, shape, steps);
  return {
    name: 'signround',
    options: { steps, batch, rate, range, startFrom },
    blockByBlock: true,
    readsHiddenStates: true,
    refuse: refuseSignedRounding,
    forecast,
    async tune(input, context) {
      const tuning = {
        parameterize: (
          original: Parameters<typeof signedRounding>[0],
          start: Parameters<typeof refuseReordered>[0],
        ) => {
          refuseReordered(start);
          const weight = startFrom === 'codes' ? nearestInCells(original, start) : original;
          return signedRounding(weight, start.scheme, range === 'grid' ? start : undefined);
        },
        optimizer: signSgd,
        schedule: linearDecay,
        rates: { rounding: rate, lowFactor: rate, highFactor: rate },
        steps,
        batch,
        keepBest: true,
        task: 'signround',
      };
      const { modules, losses, secondsPerStep, memory } = await tuneBlocks(input, tuning, context);
      return {
        modules: new Map([...modules].map(([module, each]) => [module, each.quantized()])),
        figures: {
          steps: steps * losses.length,
          trainedParameters: trainedParameters(tunedModules(input), true),
          secondsPerStep,
          ...blockLosses(losses),
          ...memoryFigures({
            predicted: forecast(input.model, tunedModules(input), input.windows).memory,
            measured: memory,
          }),
        },
        notes: [],
      };
    },
  };
}

/** Mean squared error behind each block, as figures of a report. */
export function blockLosses(losses: readonly number[]): Record<string, number> {
  return Object.fromEntries(losses.map((loss, index) => [`block${index}Loss`, loss]));
}

/** What the command and recipes know of it. */
export const signRoundMethod: Method<typeof signRoundOptions> = {
  name: 'signround',
  summary: 'trains the rounding of one block at a time, starting from GPTQ',
  options: signRoundOptions,
  base: { method: 'gptq' },
  tuner: signRound,
};
