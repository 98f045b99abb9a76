import { ScaleRangeError } from '@q/checkpoint';
import { CalibrationError, NumericError, type QuantError, SchemeError, ShapeError } from '@q/core';

/** An error that follows from the job's inputs: a result like others, as every worker would end in it. */
export interface JobFailure {
  readonly name: string;
  readonly message: string;
  /** Of a {@link ScaleRangeError}. */
  readonly module?: string;
}

const families = [SchemeError, ShapeError, NumericError, CalibrationError];

/** The failure as a result; nothing when another worker, or the same one later, may succeed. */
export function failureOf(error: unknown): JobFailure | undefined {
  if (error instanceof ScaleRangeError) return { name: error.name, message: error.message, module: error.module };
  const family = families.find((each) => error instanceof each);
  return family ? { name: new family('').name, message: (error as Error).message } : undefined;
}

/** The error of a failure, of the same class as where it came up. */
export function errorOf({ name, message, module }: JobFailure): QuantError {
  if (module !== undefined) return new ScaleRangeError(message, module);
  const family = families.find((each) => new each('').name === name) ?? SchemeError;
  return new family(message);
}
