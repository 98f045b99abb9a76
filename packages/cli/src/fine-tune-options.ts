import { totalmem } from 'node:os';
import type { FineTuning } from './fine-tuning/fine-tuning.js';
import { choose, decimal, number } from './recipe-options.js';
import { type FineTunerOptions, fineTuners } from './registry.js';
import { UsageError } from './usage-error.js';
import { wholeNumber } from './whole-number.js';

/** Options of the command line that choose how a text is learnt. */
export interface FineTuneFlags {
  readonly method?: string;
  readonly rank?: string;
  readonly alpha?: string;
  readonly dropout?: string;
  readonly epochs?: string;
  readonly batch?: string;
  readonly rate?: string;
  readonly heldOut?: string;
  readonly checkpointing?: boolean;
  readonly memory?: string;
  readonly seed?: string;
}

/**
 * The fine-tuning that the options ask for.
 * @throws UsageError naming the option that the method does not know, or whose value is out of range
 */
export function fineTuningFrom(flags: FineTuneFlags): { method: string; tuning: FineTuning } {
  const method = flags.method ?? 'qlora';
  const { make, options: known } = choose('--method', method, fineTuners);
  const all: FineTunerOptions = {
    rank: wholeNumber('--rank', flags.rank, 1),
    alpha: number('--alpha', flags.alpha, 0, Number.MAX_VALUE),
    dropout: flags.dropout === '0' ? 0 : decimal('--dropout', flags.dropout),
    epochs: wholeNumber('--epochs', flags.epochs, 1),
    batch: wholeNumber('--batch', flags.batch, 1),
    rate: decimal('--rate', flags.rate),
    heldOut: wholeNumber('--held-out', flags.heldOut, 0),
    checkpointing: flags.checkpointing,
    memory: wholeNumber('--memory', flags.memory, 1) ?? totalmem(),
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  const unknown = given.find(([key]) => !known.includes(key as keyof FineTunerOptions));
  if (unknown) throw new UsageError(`--${unknown[0]}: --method ${method} has no such option`);
  return { method, tuning: make(Object.fromEntries(given)) };
}
