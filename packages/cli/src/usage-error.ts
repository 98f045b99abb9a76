import { QuantError } from '@q/core';

/** The command was called with invalid arguments. */
export class UsageError extends QuantError {
  override name = 'UsageError';
}
