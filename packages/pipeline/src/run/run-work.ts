import type { CheckpointWriter } from '@q/checkpoint';
import type { Context } from '@q/core';
import type { Plan } from '../plan/plan.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';

/** The parts of a run that every phase needs: the plan, the writer, and the journal of finished work. */
export interface RunWork {
  readonly plan: Plan;
  readonly writer: CheckpointWriter;
  readonly journal: Journal<ModuleRow>;
  readonly context: Context;
}
