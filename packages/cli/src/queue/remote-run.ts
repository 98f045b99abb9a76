import type { Checkpoint } from '@q/checkpoint';
import type { RemoteRun } from '@q/pipeline';
import type { RecipeRequest } from '../recipe-flags.js';
import { remoteModules } from './quantize-work.js';
import type { QueueRun } from './queue-run.js';
import { remoteSolver } from './solve-work.js';

export interface RemoteQuantization {
  readonly checkpoint: Checkpoint;
  readonly request: RecipeRequest;
  /** Number of rules of the requested recipe: those before them are of linears that are kept. */
  readonly rules: number;
  /** Name of the kernels that the run is computed with. */
  readonly kernels: string;
}

/** Has the linears of a plan quantized by the workers of a queue. */
export const remoteRun = (run: QueueRun, what: RemoteQuantization): RemoteRun => ({
  modules: remoteModules(run, what),
  solver: (plan) => remoteSolver(run, what, plan),
});
