import { type Quantizer, type Tuner, weightedSearch } from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { efficientQat, llmQat, peqa, type QaftOptions, qaft, signRound } from '@q/qat';
import { rtn } from '@q/rtn';

/** A line of the table of trainings, with its number of passes over the windows. */
export interface TrainingMethod {
  readonly quantizer: Quantizer;
  readonly tuner?: Tuner;
  readonly passes: number;
  /** True: trains on text that the unquantized model writes itself, instead of the calibration windows. */
  readonly writes?: boolean;
}

/** Steps between checkpoints. A run under a time limit loses at most this many. The result does not depend on it. */
const saveEvery = 4;

const halfRates = { weight: 3e-4, scale: 1e-4 };
/** The default rates of 2 bits, at other numbers of bits. */
const twoBitRates = { weight: 6e-4, scale: 2e-4 };

function qaftWith(options: QaftOptions): (epochs: number) => TrainingMethod {
  return (epochs) => ({ quantizer: gptq(), tuner: qaft({ epochs, saveEvery, ...options }), passes: epochs });
}

/** Methods by their names in the table. Each is made for a number of epochs of the global methods. */
export const trainingMethods: Readonly<Record<string, (epochs: number) => TrainingMethod>> = {
  rtn: () => ({ quantizer: rtn(), passes: 0 }),
  'gptq-paper': () => ({ quantizer: gptq(paperOptions), passes: 0 }),
  gptq: () => ({ quantizer: gptq(), passes: 0 }),
  'signround-from-rtn': () => ({
    quantizer: rtn({ fit: weightedSearch() }),
    tuner: signRound({ startFrom: 'weights' }),
    passes: 0,
  }),
  signround: () => ({ quantizer: gptq(), tuner: signRound(), passes: 0 }),
  'signround-full-rate': () => ({ quantizer: gptq(), tuner: signRound({ rate: 1 / 200 }), passes: 0 }),
  'efficient-qat': () => ({ quantizer: rtn({ fit: weightedSearch() }), tuner: efficientQat(), passes: 10 }),
  'efficient-qat-from-gptq': () => ({ quantizer: gptq(), tuner: efficientQat(), passes: 10 }),
  peqa: () => ({ quantizer: gptq(), tuner: peqa({ loss: 'teacher' }), passes: 5 }),
  'llm-qat': (epochs) => ({ quantizer: gptq(), tuner: llmQat({ epochs }), passes: epochs, writes: true }),
  qaft: qaftWith({}),
  'qaft-labels': qaftWith({ loss: 'labels' }),
  // The alternatives among which the rates were chosen (docs/training.md).
  'qaft-half-rates': qaftWith({ rates: halfRates }),
  'qaft-half-rates-batch-4': qaftWith({ rates: halfRates, batch: 4 }),
  // The default rates of 2 bits at more bits, where the codes are closer to each other.
  'qaft-2-bit-rates': qaftWith({ rates: twoBitRates }),
  'qaft-labels-2-bit-rates': qaftWith({ rates: twoBitRates, loss: 'labels' }),
};
