import type { RunDescription, Store } from '@q/distributed';
import type { Vocabulary } from '@q/pipeline';
import type { Compute } from '../engine.js';

/** The context in which a worker computes. */
interface JobSurroundings {
  readonly store: Store;
  readonly vocabulary: Vocabulary;
  readonly compute: Compute;
}

/** A run that a worker has opened; it reads a weight when a job needs it. */
export interface OpenRun {
  /**
   * The result of a part of the run, in its published form.
   * @param inputs name of the store's object that the part reads, if it has one
   */
  compute(unit: string, inputs?: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A kind of work for workers. */
export interface JobKind {
  readonly name: string;
  /** True if results of one job may differ, because they contain times: they are not compared. */
  readonly varies?: boolean;
  /** @throws RefusedRunError when this worker must not take part; StoreError when the store lacks an object */
  open(run: RunDescription, surroundings: JobSurroundings): Promise<OpenRun>;
}
