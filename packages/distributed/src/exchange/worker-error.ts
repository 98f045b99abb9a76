import { QuantError } from '@q/core';

/**
 * A worker that has ended, is silent, belongs to another run, or may not join. The message names it and says what to
 * do.
 */
export class WorkerError extends QuantError {
  override name = 'WorkerError';
}
