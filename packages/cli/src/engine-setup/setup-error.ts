import { QuantError } from '@q/core';

/** A native engine could not be set up: the missing parts, or the step that failed with its message. */
export class EngineSetupError extends QuantError {
  override name = 'EngineSetupError';
}
