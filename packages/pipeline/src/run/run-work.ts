import type { CheckpointWriter } from '@q/checkpoint';
import type { Context } from '@q/core';
import type { Plan } from '../plan/plan.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';

/** What each part of a run works with: what is to be done, where it is written, what is done already. */
export interface RunWork {
  readonly plan: Plan;
  readonly writer: CheckpointWriter;
  readonly journal: Journal<ModuleRow>;
  readonly context: Context;
}
