import type { Kernels } from './kernels.js';
import type { Profile } from './profile.js';
import type { TrainingGroup } from './training-group.js';

/** Seeded generator. `fork(label)` gives an independent stream that depends only on the seed and the label. */
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
  /** A message for the user to read after the run. */
  info(message: string): void;
  /** Something was not done as requested; it is also in the report. */
  warn(message: string): void;
}

/** One step of a task: `done` of `total`, in units of `unit`. */
export interface ProgressEvent {
  readonly task: string;
  readonly done: number;
  readonly total: number;
  readonly unit?: string;
  readonly note?: string;
}

/** The frozen object that a run passes to all its parts. */
export interface Context {
  readonly kernels: Kernels;
  readonly random: Random;
  readonly logger: Logger;
  readonly progress: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
  /** Records the times of stages; `noProfile` when no profile is requested. */
  readonly profile: Profile;
  /** The workers that share the batches of a training. Absent: the training runs alone. */
  readonly group?: TrainingGroup;
}
