import type { Tuner } from '@q/core';
import { forecastTraining, memoryFigures, trainedParameters } from './memory.js';
import { linearDecay } from './optimizers/schedule.js';
import { signSgd } from './optimizers/sign-sgd.js';
import { refuseSignedRounding, signedRounding } from './parameters/signed-rounding.js';
import { refuseReordered } from './qaft.js';
import { nearestInCells } from './start-weights.js';
import { tuneBlocks } from './tune-blocks.js';
import { tunedModules } from './tune-model.js';

export interface SignRoundOptions {
  /** Of each block. Default 200. */
  readonly steps?: number;
  /** Windows a step. Default 8. */
  readonly batch?: number;
  /**
   * First step size of offsets and range factors; falls linearly to 0. Default `1 / steps` from the weights, as in the paper, so that an
   * offset can cross its whole range; a quarter of that from a quantizer's codes, of which most are right.
   */
  readonly rate?: number;
  /**
   * The range that the factors shrink. `grid` (default): the one that the quantizer's scales and zero points span.
   * `values`: the smallest and largest weight, as in the paper.
   */
  readonly range?: 'grid' | 'values';
  /**
   * Which weights the offsets are added to. `codes` (default): those nearest to the original ones that round to what the quantizer
   * chose, so that training starts at its result: GPTQ's. `weights`: the original ones, for grids of round-to-nearest.
   */
  readonly startFrom?: 'codes' | 'weights';
}

/**
 * SignRound (AutoRound, arXiv 2309.05516): rounding offsets and range factors of one block at a time by the sign of their
 * gradients, against what the unquantized model has behind the block; inputs come from the blocks quantized before it.
 * The iterate with the least error is kept.
 */
export function signRound(options: SignRoundOptions = {}): Tuner {
  const { steps = 200, batch = 8, range = 'grid', startFrom = 'codes' } = options;
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
