import { QuantError } from '@q/core';

/** A queue that cannot be reached or used, or a job that failed on all workers. */
export class QueueError extends QuantError {
  override name = 'QueueError';
}

/**
 * A worker that must not take part in a run: of another version, recipe or kernels. The job goes back to the queue, and
 * the worker ends with this message.
 */
export class RefusedRunError extends QuantError {
  override name = 'RefusedRunError';
}
