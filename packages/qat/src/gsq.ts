import {
  checkOptions,
  choice,
  integer,
  type Method,
  number,
  type OptionValues,
  pickOptions,
  type QuantizedTensor,
  type Random,
  type Tuner,
} from '@q/core';
import { forecastTraining, memoryFigures, trainedParameters } from './memory.js';
import { lion } from './optimizers/lion.js';
import { cosine } from './optimizers/schedule.js';
import { refuseSoftShifts, softShifts } from './parameters/soft-shifts.js';
import { refuseReordered } from './qaft.js';
import { blockLosses } from './sign-round.js';
import { sharedTrainingOptions } from './training-options.js';
import { tuneBlocks } from './tune-blocks.js';
import { type ModelTuning, quantizedModules, tunedModules, tuneModel, tuningFigures } from './tune-model.js';

const gsqOptions = {
  ...pickOptions(sharedTrainingOptions, 'batch'),
  /** Training steps, of each block or of the whole model. Default 200. */
  steps: integer({ min: 1, default: 200, help: 'Training steps, of each block or of the whole model.' }),
  /**
   * The error that training lowers. `block` (default): the squared error of the output of one block after the other.
   * `teacher`: the KL divergence of the whole model to the unquantized one, all linears at once.
   */
  against: choice(['block', 'teacher'], {
    default: 'block',
    help: 'Train one block after the other against its output, or all of them against the logits (teacher).',
  }),
  /** Neighbouring codes on each side that a weight may move to. Default 1. */
  reach: integer({ min: 1, max: 3, default: 1, help: 'Neighbouring codes on each side that a weight may move to.' }),
  /**
   * Step size of the logits. Default `0.26 / steps`: twice the distance that the paper's 640 steps of 2e-4 allow. The
   * start is better than the paper's, and there are fewer steps.
   */
  rate: number({ above: 0, otherwise: '0.26/steps', help: 'Peak learning rate of the trained parameters.' }),
  /** Step size of the scales, as a share of their mean magnitude. Default `0.02 / steps`. */
  scaleRate: number({ above: 0, otherwise: '0.02/steps', help: 'Step size of the scales, as a share of their mean.' }),
};

export type GsqOptions = OptionValues<typeof gsqOptions>;

/**
 * GSQ (arXiv 2604.18556): discrete assignments by gradients. It starts at a quantizer's codes, and learns the scales
 * and, for each weight, one of the neighbouring codes. It trains one block at a time against the unquantized model's
 * states after the block, or all blocks together against its logits. A block that training did not improve keeps its
 * start.
 * @throws SchemeError for options out of range
 */
export function gsq(options: GsqOptions = {}): Tuner {
  const { steps, batch, reach, against } = checkOptions('gsq', gsqOptions, options);
  const { rate = 0.26 / steps, scaleRate = 0.02 / steps } = options;
  const blockWise = against === 'block';
  const shape = { batch, checkpointing: false, optimizer: lion(), weights: true, teacher: !blockWise, blockWise };
  const forecast: Tuner['forecast'] = (model, modules, windows) => {
    const { memory, operations } = forecastTraining(model, modules, windows, shape, steps);
    const sizes = model.blocks.map(({ linears }) =>
      linears.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures, 0),
    );
    // Logits, their gradients and their momenta: one of each for every candidate of all weights that are trained at a
    // time.
    const trained = blockWise ? Math.max(...sizes) : sizes.reduce((sum, size) => sum + size, 0);
    return { memory: { ...memory, choices: 4 * 4 * (2 * reach + 1) * trained }, operations };
  };
  const optimizer = () => lion({ decay: 1, decays: (name: string) => name.endsWith('#logits') });
  const shiftsOf = (start: QuantizedTensor, module: string, step: () => number, random: Random) => {
    refuseReordered(start);
    return softShifts(start, { reach, step, steps, random: random.fork(`gsq ${module}`) });
  };
  const common = {
    schedule: cosine({ final: 0.1 }),
    rates: { logits: rate, scale: scaleRate },
    batch,
    keepsBetterStart: true,
    task: 'gsq',
  };
  const factorOf = (start: QuantizedTensor, role: string) => (role === 'scale' ? meanMagnitude(start.scales) : 1);
  /** Trains all linears at once on the teacher's loss. */
  const wholeModel = (count: number): ModelTuning => ({
    ...common,
    parameterize: (_original, start, { random }, module, step) => shiftsOf(start, module, step, random),
    loss: { labels: 0, teacher: 1 },
    optimizer: optimizer(),
    rateFactor: (_scheme, role, start) => factorOf(start, role),
    epochs: steps / Math.max(1, Math.floor(count / batch)),
    ...{ accumulate: 1, heldOut: 0, patience: 1, checkpointing: false, clipNorm: Number.POSITIVE_INFINITY },
    ...{ memory: Number.POSITIVE_INFINITY, trainsWeights: true },
  });
  return {
    name: 'gsq',
    options: { steps, batch, reach, against, rate, scaleRate },
    blockByBlock: blockWise,
    readsHiddenStates: blockWise,
    refuse: refuseSoftShifts,
    forecast,
    async tune(input, context) {
      const parameters = (2 * reach + 1) * trainedParameters(tunedModules(input), true);
      if (!blockWise) {
        const tuned = await tuneModel(input, wholeModel(input.windows.count), context);
        return {
          modules: quantizedModules(tuned),
          figures: { ...tuningFigures(tuned), trainedParameters: parameters },
          notes: tuned.notes,
        };
      }
      const tuning = {
        ...common,
        parameterize: (_original: unknown, start: QuantizedTensor, module: string, step: () => number) =>
          shiftsOf(start, module, step, context.random),
        optimizer,
        rateFactor: factorOf,
        steps,
        keepBest: false,
      };
      const { modules, losses, secondsPerStep, memory, keptStarts } = await tuneBlocks(input, tuning, context);
      return {
        modules: new Map([...modules].map(([module, each]) => [module, each.quantized()])),
        figures: {
          steps: steps * losses.length,
          trainedParameters: parameters,
          secondsPerStep,
          ...blockLosses(losses),
          ...memoryFigures({
            predicted: forecast(input.model, tunedModules(input), input.windows).memory,
            measured: memory,
          }),
        },
        notes: keptStarts.map((block) => `${block}: training did not lower its error, the quantizer's codes are kept`),
      };
    },
  };
}

const meanMagnitude = (values: Float32Array) =>
  values.reduce((sum, value) => sum + Math.abs(value), 0) / Math.max(1, values.length);

/** The declaration of the method for the command and recipes. */
export const gsqMethod: Method<typeof gsqOptions> = {
  name: 'gsq',
  summary: "learns by gradients which neighbour of GPTQ's code each weight takes",
  options: gsqOptions,
  base: { method: 'gptq' },
  tuner: gsq,
};
