import type { ProgressEvent } from '@q/core';
import type { StudyJob, StudyResult } from './study-job.js';

/** Where finished runs wait: a study that is called again does only what is missing. */
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
 * Carries out the jobs in their order, skipping those that the store has.
 * @param execute one run; it may be carried out on another machine
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
