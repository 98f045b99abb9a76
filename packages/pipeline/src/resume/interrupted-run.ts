import { CalibrationError, NumericError, QuantError, SchemeError, ShapeError } from '@q/core';

/**
 * Thrown when a run ends with an error that the user can correct. Finished work is kept, and the same command continues
 * it.
 */
export class InterruptedRunError extends QuantError {
  override name = 'InterruptedRunError';
}

/** Errors that follow from the model, the text and the recipe: the same run would end with them again. */
const comesAgain = [CalibrationError, NumericError, SchemeError, ShapeError];

/** Whether an error means that the same run can never be finished. */
export const isFinal = (error: unknown): boolean => comesAgain.some((kind) => error instanceof kind);

/** Makes an error that states that the run can be continued. */
export function interrupted(error: unknown, out: string): InterruptedRunError {
  const what = error instanceof Error ? error.message : String(error);
  return new InterruptedRunError(
    `${what}\nFinished work is kept in ${out}: correct the cause, and the same command goes on`,
    { cause: error },
  );
}
