import type { ProgressEvent } from '@q/core';
import type { StudyJob, StudyResult } from './study-job.js';

/** Stores finished runs. A study that is started again only runs the missing ones. */
export interface StudyStore {
  load(id: string): Promise<StudyResult | undefined>;
  save(result: StudyResult): Promise<void>;
}

export interface RunStudyOptions {
  readonly store?: StudyStore;
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
}

/**
 * Runs the jobs in their order, except those that the store has.
 * @param execute performs one run; it may use another machine
 */
export async function runStudy(
  jobs: readonly StudyJob[],
  execute: (job: StudyJob) => Promise<StudyResult>,
  { store, progress, signal }: RunStudyOptions = {},
): Promise<readonly StudyResult[]> {
  const results: StudyResult[] = [];
  for (const job of jobs) {
    signal?.throwIfAborted();
    const known = await store?.load(job.id);
    const result = known ?? (await execute(job));
    if (!known) await store?.save(result);
    results.push(result);
    progress?.({ task: 'study', done: results.length, total: jobs.length, unit: 'runs', note: job.id });
  }
  return results;
}
