import type { Kernels } from './kernels.js';
import type { Profile } from './profile.js';
import type { TrainingGroup } from './training-group.js';

/** Seeded generator. `fork(label)` gives an independent stream that depends on the seed and the label only. */
export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number;
  /** Standard normal. */
  normal(): number;
  /** Uniform integer in [0, n). */
  integer(n: number): number;
  fork(label: string): Random;
}

export interface Logger {
  /** Worth reading afterwards. */
  info(message: string): void;
  /** Something was not done as asked; it is also in the report. */
  warn(message: string): void;
}

/** One step of a task: `done` of `total`, in whatever `unit`. */
export interface ProgressEvent {
  readonly task: string;
  readonly done: number;
  readonly total: number;
  readonly unit?: string;
  readonly note?: string;
}

/** What a run hands down, frozen. */
export interface Context {
  readonly kernels: Kernels;
  readonly random: Random;
  readonly logger: Logger;
  readonly progress: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
  /** Told what takes how long; `noProfile` where nobody asks. */
  readonly profile: Profile;
  /** The workers that a training shares its batches with. Absent: it trains alone. */
  readonly group?: TrainingGroup;
}
