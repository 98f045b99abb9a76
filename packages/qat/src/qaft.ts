import { type QuantizedTensor, SchemeError, type Tuner } from '@q/core';
import type { LossWeights } from './objectives/model-loss.js';
import { type LearnedStepOptions, learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { nearestInCells } from './start-weights.js';
import { trainsWeights, type WeightTrainingOptions } from './weight-training.js';

export interface QaftOptions extends WeightTrainingOptions {
  /**
   * What the logits are compared with. `teacher` (default): the unquantized model, at all positions. `labels`: the next
   * token. Or a weight for each.
   */
  readonly loss?: 'teacher' | 'labels' | LossWeights;
  /**
   * Where the weights start. `codes` (default): at the point nearest to the original weight that rounds to the code that
   * the quantizer chose. `weights`: at the original weights; the quantizer gives the grids alone.
   */
  readonly startFrom?: 'codes' | 'weights';
  readonly estimator?: LearnedStepOptions['estimator'];
}

const lossWeights = { teacher: { labels: 0, teacher: 1 }, labels: { labels: 1, teacher: 0 } } as const;

/**
 * Quantization-aware fine-tuning of all linears at once: the end loss, straight-through weights, learned steps (LSQ) and
 * zero points (LSQ+). With the teacher's loss it is the knowledge distillation of LLM-QAT and QAD on given text.
 */
export function qaft(options: QaftOptions = {}): Tuner {
  const { startFrom = 'codes', estimator = 'clipped', loss = 'teacher' } = options;
  const training = trainsWeights(options, {
    parameterize(original, start, { kernels }) {
      refuseReordered(start);
      const weight = startFrom === 'codes' ? nearestInCells(original, start) : original;
      return learnedStep(weight, start.scheme, start, { estimator, grids: kernels.grids });
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
