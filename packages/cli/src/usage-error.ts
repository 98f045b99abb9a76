import { QuantError } from '@q/core';

/** The command was called with something it cannot take. */
export class UsageError extends QuantError {
  override name = 'UsageError';
}
