import { QuantError } from '@q/core';

/** A native engine could not be set up: what is missing, or which step failed and what it said. */
export class EngineSetupError extends QuantError {
  override name = 'EngineSetupError';
}
