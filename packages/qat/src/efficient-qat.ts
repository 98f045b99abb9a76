import {
  checkOptions,
  codeOnly,
  type Method,
  type OptionValues,
  pickOptions,
  type QuantizedTensor,
  type Tuner,
  weightedSearch,
} from '@q/core';
import { forecastTraining, trainedParameters } from './memory.js';
import { adamW } from './optimizers/adamw.js';
import { cosine } from './optimizers/schedule.js';
import { learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { type PeqaOptions, scalesTuning } from './peqa.js';
import { refuseReordered } from './qaft.js';
import { scopedStore } from './scoped-store.js';
import { blockLosses } from './sign-round.js';
import { nearestInCells } from './start-weights.js';
import { epochsOption, isRates, sharedTrainingOptions } from './training-options.js';
import { tuneBlocks } from './tune-blocks.js';
import { forecastTuning, quantizedModules, tunedModules, tuneModel, tuningFigures } from './tune-model.js';

export const efficientQatOptions = {
  ...pickOptions(sharedTrainingOptions, 'batch', 'memory'),
  /** Passes over the windows for each block. Default 10. */
  blockEpochs: epochsOption(10),
  /** Peak learning rates of the first phase. Default: 5e-4 for weights, 1e-4 for scales, 1e-3 for zero points. */
  blockRates: codeOnly<{ readonly weight?: number; readonly scale?: number; readonly zero?: number }>(
    'an object of rates for weight, scale and zero',
    isRates,
    { help: 'Peak learning rates of the first phase.' },
  ),
  /** The second phase. Default: 5 epochs on the teacher's loss, rate 1e-4. */
  scales: codeOnly<PeqaOptions>('options of peqa', (value) => typeof value === 'object' && value !== null, {
    help: 'The second phase.',
  }),
};

export type EfficientQatOptions = OptionValues<typeof efficientQatOptions>;

/**
 * EfficientQAT (arXiv 2407.11062). First it trains all parameters of one block at a time, so that the block's output
 * approximates the unquantized block's (Block-AP). Then it trains the scales of all blocks on the end loss (E2E-QP,
 * which is PEQA's training).
 */
export function efficientQat(options: EfficientQatOptions = {}): Tuner {
  const { blockEpochs, batch, memory } = checkOptions('efficient-qat', efficientQatOptions, options);
  const rates = { weight: 5e-4, scale: 1e-4, zero: 1e-3, ...options.blockRates };
  const scales: PeqaOptions = { loss: 'teacher', batch, memory, ...options.scales };
  const blockSteps = (count: number) => blockEpochs * Math.max(1, Math.floor(count / batch));
  return {
    name: 'efficient-qat',
    options: { blockEpochs, batch, rates, scales: { ...scales } },
    readsHiddenStates: true,
    refuse: refuseLearnedStep,
    forecast(model, modules, windows) {
      const shape = { batch, checkpointing: false, optimizer: adamW(), weights: true, teacher: false, blockWise: true };
      const blocks = forecastTraining(model, modules, windows, shape, blockSteps(windows.count));
      const whole = forecastTuning(model, modules, windows, scalesTuning(scales, windows.count));
      const names = new Set([...Object.keys(blocks.memory), ...Object.keys(whole.memory)]);
      return {
        memory: Object.fromEntries(
          [...names].map((name) => [name, Math.max(blocks.memory[name] ?? 0, whole.memory[name] ?? 0)]),
        ),
        operations: blocks.operations + whole.operations,
      };
    },
    async tune(input, context) {
      const { count } = input.windows;
      const steps = blockSteps(count);
      const blocks = await tuneBlocks(
        input,
        {
          parameterize(original, start) {
            refuseReordered(start);
            return learnedStep(nearestInCells(original, start), start.scheme, start, { kernels: context.kernels });
          },
          optimizer: adamW,
          schedule: cosine({ final: 1 / 20 }),
          rates,
          steps,
          batch,
          clipNorm: 1,
          keepBest: false,
          task: 'block-ap',
        },
        context,
        scopedStore(input.store, 'blocks'),
      );
      const start = new Map<string, QuantizedTensor>();
      for (const [module, each] of blocks.modules) start.set(module, each.quantized());
      const tuned = await tuneModel(
        { ...input, start },
        { ...scalesTuning(scales, count), task: 'e2e-qp' },
        context,
        scopedStore(input.store, 'scales'),
      );
      return {
        modules: quantizedModules(tuned),
        figures: {
          ...tuningFigures(tuned),
          steps: steps * blocks.losses.length + tuned.result.steps,
          trainedParameters: trainedParameters(tunedModules(input), true),
          ...blockLosses(blocks.losses),
        },
        notes: tuned.notes,
      };
    },
  };
}

const methodOptions = {
  ...pickOptions(sharedTrainingOptions, 'batch', 'memory'),
  epochs: epochsOption(10),
};

/** The declaration of the method for the command and recipes. */
export const efficientQatMethod: Method<typeof methodOptions> = {
  name: 'efficient-qat',
  summary: 'trains block by block, then all scales together, starting from round to nearest',
  options: methodOptions,
  base: { method: 'rtn', options: ['fit'], defaults: { fit: weightedSearch() } },
  tuner: ({ epochs, ...options }) => efficientQat({ ...options, blockEpochs: epochs }),
};
