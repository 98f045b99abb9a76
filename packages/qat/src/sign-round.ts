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
   * First step size of offsets and range factors; it falls linearly to 0. Default: `1 / steps` from the weights, as in
   * the paper, so an offset can cross its whole range. From a quantizer's codes it is a quarter of that, because most
   * codes are correct.
   */
  rate: number({
    above: 0,
    below: 1,
    otherwise: '1/4 of 1/steps',
    help: 'Peak learning rate of the trained parameters.',
  }),
  /**
   * The range that the factors shrink. `grid` (default): the range of the quantizer's scales and zero points. `values`:
   * the smallest and largest weight, as in the paper.
   */
  range: choice(['grid', 'values'], {
    default: 'grid',
    help: "The range that the factors shrink: that of the quantizer's grid, or that of the weights.",
  }),
  /**
   * The weights to which the offsets are added. `codes` (default): the weights nearest to the original ones that round
   * to the quantizer's codes, so training starts at GPTQ's result. `weights`: the original ones, for grids of
   * round-to-nearest.
   */
  startFrom: choice(['codes', 'weights'], {
    default: 'codes',
    help: "Where the weights start: next to the quantizer's codes, or at the original weights.",
  }),
};

export type SignRoundOptions = OptionValues<typeof signRoundOptions>;

/**
 * SignRound (AutoRound, arXiv 2309.05516). It trains rounding offsets and range factors of one block at a time by the
 * sign of their gradients, so that the output approximates the unquantized model's states after the block. Inputs come
 * from the quantized blocks before it. The iterate with the smallest error is kept.
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

/** Mean squared error of each block's output, as figures of a report. */
export function blockLosses(losses: readonly number[]): Record<string, number> {
  return Object.fromEntries(losses.map((loss, index) => [`block${index}Loss`, loss]));
}

/** The declaration of the method for the command and recipes. */
export const signRoundMethod: Method<typeof signRoundOptions> = {
  name: 'signround',
  summary: 'trains the rounding of one block at a time, starting from GPTQ',
  options: signRoundOptions,
  base: { method: 'gptq' },
  tuner: signRound,
};
