import { type QuantizedTensor, SchemeError, type Tuner } from '@q/core';
import { trainedParameters } from './memory.js';
import type { LossWeights } from './objectives/model-loss.js';
import { adamW } from './optimizers/adamw.js';
import { cosine } from './optimizers/schedule.js';
import { type LearnedStepOptions, learnedStep, refuseLearnedStep } from './parameters/learned-step.js';
import { nearestInCells } from './start-weights.js';
import { forecastTuning, type ModelTuning, stepsOf, tunedModules, tuneModel } from './tune-model.js';

export interface QaftOptions {
  /**
   * What the logits are compared with. `teacher` (default): the unquantized model, at all positions. `labels`: the next
   * token. Or a weight for each.
   */
  readonly loss?: 'teacher' | 'labels' | LossWeights;
  /** Passes over the windows. Default 20. */
  readonly epochs?: number;
  /** Windows a step. Default 8. */
  readonly batch?: number;
  /** Batches a step, their gradients averaged. Default 1. */
  readonly accumulate?: number;
  /** Peak learning rates. Default: 3e-4 for weights, 1e-4 for scales, 1e-3 for zero points. */
  readonly rates?: { readonly weight?: number; readonly scale?: number; readonly zero?: number };
  /** Steps of linear warm-up before the cosine. Default 20. */
  readonly warmUp?: number;
  /** Largest norm of all gradients together. Default 1. */
  readonly clipNorm?: number;
  /**
   * Where the weights start. `codes` (default): at the point nearest to the original weight that rounds to the code that
   * the quantizer chose. `weights`: at the original weights; the quantizer gives the grids alone.
   */
  readonly startFrom?: 'codes' | 'weights';
  readonly estimator?: LearnedStepOptions['estimator'];
  /** Windows at the end of the calibration set that are held out; training stops when their loss rises. Default 0. */
  readonly heldOut?: number;
  /** Epochs without a better held-out loss after which training stops. Default 3. */
  readonly patience?: number;
  /** Run blocks again in the backward pass in place of keeping their activations. Default false. */
  readonly checkpointing?: boolean;
  /** Steps between checkpoints. Default: an epoch. */
  readonly saveEvery?: number;
  /** Bytes that training may take; more is refused with the batch that fits. Default: no limit. */
  readonly memory?: number;
}

const lossWeights = { teacher: { labels: 0, teacher: 1 }, labels: { labels: 1, teacher: 0 } } as const;

/**
 * Quantization-aware fine-tuning of all linears at once: the end loss, straight-through weights, learned steps (LSQ) and
 * zero points (LSQ+). With the teacher's loss it is the knowledge distillation of LLM-QAT and QAD on given text.
 */
export function qaft(options: QaftOptions = {}): Tuner {
  const { epochs = 20, batch = 8, accumulate = 1, warmUp = 20, clipNorm = 1, heldOut = 0, patience = 3 } = options;
  const { startFrom = 'codes', estimator = 'clipped', checkpointing = false, loss = 'teacher' } = options;
  const weights: LossWeights = typeof loss === 'string' ? lossWeights[loss] : loss;
  const rates = { weight: 3e-4, scale: 1e-4, zero: 1e-3, ...options.rates };
  const settings = { epochs, batch, accumulate, rates, clipNorm, heldOut, patience, checkpointing, loss: weights };
  const tuning = (count: number): ModelTuning => ({
    ...settings,
    parameterize(original, start) {
      refuseReordered(start);
      const weight = startFrom === 'codes' ? nearestInCells(original, start) : original;
      return learnedStep(weight, start.scheme, start, { estimator });
    },
    optimizer: adamW(),
    schedule: cosine({ warmUp: Math.min(warmUp, Math.floor(stepsOf(settings, count) / 4)) }),
    saveEvery: options.saveEvery,
    memory: options.memory ?? Number.POSITIVE_INFINITY,
    trainsWeights: true,
    task: 'qaft',
  });
  return {
    name: 'qaft',
    options: { ...settings, warmUp, startFrom, estimator },
    refuse: refuseLearnedStep,
    forecast: (model, modules, windows) => forecastTuning(model, modules, windows, tuning(windows.count)),
    async tune(input, context) {
      const { modules, result, notes } = await tuneModel(input, tuning(input.windows.count), context);
      return {
        modules: new Map([...modules].map(([module, each]) => [module, each.quantized()])),
        figures: {
          steps: result.steps,
          loss: result.loss,
          trainedParameters: trainedParameters(tunedModules(input), true),
          secondsPerStep: result.secondsPerStep,
          ...(result.bestLoss === undefined ? {} : { heldOutLoss: result.bestLoss }),
        },
        notes,
      };
    },
  };
}

/** @throws SchemeError for groups that are not consecutive columns */
export function refuseReordered({ groupIndex }: QuantizedTensor): void {
  if (groupIndex)
    throw new SchemeError(
      'groups were reordered: start from static groups, or without act-order, to train the weights',
    );
}
