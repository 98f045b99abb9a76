import type { RunDescription, Store } from '@q/distributed';
import type { Vocabulary } from '@q/pipeline';
import type { Compute } from '../engine.js';

/** What a worker computes with. */
interface JobSurroundings {
  readonly store: Store;
  readonly vocabulary: Vocabulary;
  readonly compute: Compute;
}

/** A run that a worker has opened: weights are read when a job wants them. */
export interface OpenRun {
  /**
   * The result of a piece of the run, as it is published.
   * @param inputs object of the store that the piece reads, where it has one
   */
  compute(unit: string, inputs?: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A kind of work that runs hand to workers. */
export interface JobKind {
  readonly name: string;
  /** Results of one job may differ, as they hold times: two of them are not compared. */
  readonly varies?: boolean;
  /** @throws RefusedRunError when this worker must not take part; StoreError when the store lacks something */
  open(run: RunDescription, surroundings: JobSurroundings): Promise<OpenRun>;
}
