import { QuantError } from '@q/core';

/** A signal stopped a command that cannot resume; the message says which files are left. */
export class InterruptedError extends QuantError {
  override name = 'InterruptedError';
}
