import { QuantError } from '@q/core';

/** A worker that is gone, silent, of another run, or not allowed to join. The message names it and says what to do. */
export class WorkerError extends QuantError {
  override name = 'WorkerError';
}
