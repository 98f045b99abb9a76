import {
  checkOptions,
  choice,
  type Method,
  type OptionValues,
  pickOptions,
  type QuantizedTensor,
  SchemeError,
  type Tuner,
} from '@q/core';
import { learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { nearestInCells } from './start-weights.js';
import { lossOption, rateOption } from './training-options.js';
import { trainsWeights, weightTrainingOptions } from './weight-training.js';

export const qaftOptions = {
  ...weightTrainingOptions,
  /**
   * The target of the logits. `teacher` (default): the unquantized model, at all positions. `labels`: the next token.
   * Or a weight for each.
   */
  loss: lossOption('teacher'),
  /**
   * The initial weights. `codes` (default): the points nearest to the original weights that round to the quantizer's
   * codes. `weights`: the original weights; the quantizer gives only the grids.
   */
  startFrom: choice(['codes', 'weights'], {
    default: 'codes',
    help: "Where the weights start: next to the quantizer's codes, or at the original weights.",
  }),
  /** The gradient of weights outside of the range. Default `clipped`. */
  estimator: choice(['clipped', 'plain', 'stretched'], {
    default: 'clipped',
    help: 'How gradients pass the rounding of weights outside of the range.',
  }),
};

export type QaftOptions = OptionValues<typeof qaftOptions>;

const lossWeights = { teacher: { labels: 0, teacher: 1 }, labels: { labels: 1, teacher: 0 } } as const;

/**
 * Quantization-aware fine-tuning of all linears at once: the end loss, straight-through weights, learned steps (LSQ)
 * and zero points (LSQ+). With the teacher's loss it is the knowledge distillation of LLM-QAT and QAD on given text.
 */
export function qaft(options: QaftOptions = {}): Tuner {
  const { startFrom, estimator, loss } = checkOptions('qaft', qaftOptions, options);
  const training = trainsWeights(options, {
    parameterize(original, start, { kernels }) {
      refuseReordered(start);
      const weight = startFrom === 'codes' ? nearestInCells(original, start) : original;
      return learnedStep(weight, start.scheme, start, { estimator, kernels });
    },
    loss: typeof loss === 'string' ? lossWeights[loss] : loss,
    task: 'qaft',
  });
  return {
    ...training,
    name: 'qaft',
    options: { ...training.options, startFrom, estimator },
    refuse: refuseLearnedStep,
  };
}

/** @throws SchemeError for groups that are not consecutive columns */
export function refuseReordered({ groupIndex }: QuantizedTensor): void {
  if (groupIndex)
    throw new SchemeError(
      'groups were reordered: start from static groups, or without act-order, to train the weights',
    );
}

const methodOptions = {
  ...pickOptions(weightTrainingOptions, 'epochs', 'batch', 'heldOut', 'checkpointing', 'memory'),
  ...pickOptions(qaftOptions, 'loss', 'startFrom', 'estimator'),
  rate: rateOption('6e-4 at 2 bits, less at more bits'),
};

/** The declaration of the method for the command and recipes. */
export const qaftMethod: Method<typeof methodOptions> = {
  name: 'qaft',
  summary: 'trains all linears at once on the loss at the end of the model, starting from GPTQ',
  options: methodOptions,
  base: { method: 'gptq' },
  tuner: ({ rate, ...options }) => qaft({ ...options, ...(rate === undefined ? {} : { rates: { weight: rate } }) }),
};
