import { CalibrationError, NumericError, QuantError, SchemeError, ShapeError } from '@q/core';

/** A run ended by something that can be put right: what is finished is kept, and the same command goes on. */
export class InterruptedRunError extends QuantError {
  override name = 'InterruptedRunError';
}

/** Errors that follow from the model, the text and the recipe: the same run would end in them again. */
const comesAgain = [CalibrationError, NumericError, SchemeError, ShapeError];

/** Whether an error says that the same run can never be finished. */
export const isFinal = (error: unknown): boolean => comesAgain.some((kind) => error instanceof kind);

/** Says that the run can go on. */
export function interrupted(error: unknown, out: string): InterruptedRunError {
  const what = error instanceof Error ? error.message : String(error);
  return new InterruptedRunError(
    `${what}\nWhat is finished is kept in ${out}: put the cause right, and the same command goes on`,
    { cause: error },
  );
}
