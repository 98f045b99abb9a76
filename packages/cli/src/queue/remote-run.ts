import type { RemoteRun } from '@q/pipeline';
import type { RecipeRequest } from '../recipe-flags.js';
import { remoteModules } from './quantize-work.js';
import type { QueueRun } from './queue-run.js';
import { remoteSolver } from './solve-work.js';
import { remoteWindows } from './window-work.js';

export interface RemoteQuantization {
  readonly request: RecipeRequest;
  /** Number of rules of the requested recipe: earlier rules are for linears that are not quantized. */
  readonly rules: number;
  /** Name of the kernels of the run. */
  readonly kernels: string;
}

/** Lets the workers of a queue quantize the linears of a plan. */
export const remoteRun = (run: QueueRun, what: RemoteQuantization): RemoteRun => ({
  modules: remoteModules(run, what),
  solver: (plan) => remoteSolver(run, what, plan),
  windows: (plan, settings) => remoteWindows(run, what, plan, settings),
});
