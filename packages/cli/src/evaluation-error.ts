import { CalibrationError, NumericError, QuantError, SchemeError, ShapeError } from '@q/core';

/** The model is written and whole, and could not be scored. */
export class EvaluationError extends QuantError {
  override name = 'EvaluationError';
}

/** Whether an evaluation ended by what the model and the text are, and would end so again. */
export const endsAgain = (error: unknown): error is QuantError =>
  [CalibrationError, NumericError, SchemeError, ShapeError].some((kind) => error instanceof kind);
