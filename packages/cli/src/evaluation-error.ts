import { CalibrationError, NumericError, QuantError, SchemeError, ShapeError } from '@q/core';

/** The model is written and complete, and could not be scored. */
export class EvaluationError extends QuantError {
  override name = 'EvaluationError';
}

/** Whether an evaluation failed because of the model or the text, and would fail again. */
export const endsAgain = (error: unknown): error is QuantError =>
  [CalibrationError, NumericError, SchemeError, ShapeError].some((kind) => error instanceof kind);
