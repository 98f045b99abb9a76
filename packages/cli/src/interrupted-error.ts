import { QuantError } from '@q/core';

/** Stopped by a signal, by a command that does not go on where it stopped; the message says what is left. */
export class InterruptedError extends QuantError {
  override name = 'InterruptedError';
}
