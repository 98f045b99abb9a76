import { boolean, choice, codeOnly, integer, number, type Option } from '@q/core';
import type { LossWeights } from './objectives/model-loss.js';

/** Passes over the windows. */
export const epochsOption = (epochs: number) =>
  integer({ min: 1, default: epochs, help: 'Passes over the calibration windows.' });

/** Peak learning rate. */
export const rateOption = (otherwise: string) =>
  number({ above: 0, below: 1, otherwise, help: 'Peak learning rate of the trained parameters.' });

/** The target of the logits. In code, an object may give a weight to each target. */
export function lossOption<D extends 'teacher' | 'labels'>(
  loss: D,
): Option<'teacher' | 'labels' | LossWeights> & { readonly default: 'teacher' | 'labels' | LossWeights } {
  const words = choice(['teacher', 'labels'], {
    default: loss,
    help: 'Compare the logits with the unquantized model (teacher) or with the text (labels).',
  });
  const weights = (value: unknown): value is LossWeights =>
    typeof value === 'object' && value !== null && 'labels' in value && 'teacher' in value;
  return {
    ...words,
    accepts: (value): value is 'teacher' | 'labels' | LossWeights => words.accepts(value) || weights(value),
    show: (value) => (typeof value === 'string' ? value : 'weights'),
  };
}

/** Options that every training takes. */
export const sharedTrainingOptions = {
  /** Windows a step. Default 8. */
  batch: integer({ min: 1, default: 8, help: 'Windows a training step.' }),
  /** Windows at the end of the calibration set that are held out; training stops when their loss rises. Default 0. */
  heldOut: integer({ min: 0, default: 0, help: 'Windows held out; training stops when their loss rises.' }),
  /** Run blocks again in the backward pass instead of keeping their activations. Default false. */
  checkpointing: boolean({ default: false, help: 'Run blocks twice instead of keeping their activations.' }),
  /** Bytes that training may take; more is refused with the batch that fits. Default: no limit. */
  memory: number({ above: 0, otherwise: 'no limit', help: 'Bytes that training may take; more is refused.' }),
};

/** Options of {@link sharedTrainingOptions} that only code sets, because they suit every model that was measured. */
export const fineTrainingOptions = {
  /** Largest norm of all gradients together. Default 1. */
  clipNorm: codeOnly<number>('a number above 0', isPositive, {
    default: 1,
    help: 'Largest norm of all gradients together.',
  }),
  /** Epochs without a better held-out loss after which training stops. Default 3. */
  patience: codeOnly<number>('a whole number of at least 1', isCount, {
    default: 3,
    help: 'Epochs without a better held-out loss after which training stops.',
  }),
};

export function isPositive(value: unknown): boolean {
  return typeof value === 'number' && value > 0;
}

export function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

/** An object of positive numbers by the role of a parameter. */
export function isRates(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.entries(value).every(
      ([role, rate]) =>
        ['weight', 'scale', 'zero'].includes(role) && (rate === undefined || (typeof rate === 'number' && rate >= 0)),
    )
  );
}
