import { ScaleRangeError } from '@q/checkpoint';
import { CalibrationError, NumericError, type QuantError, SchemeError, ShapeError } from '@q/core';
import { packParts } from '@q/distributed';

/** An error that follows from the job's inputs. It is a result like others, since every worker would end with it. */
export interface JobFailure {
  readonly name: string;
  readonly message: string;
  /** The module of a {@link ScaleRangeError}. */
  readonly module?: string;
}

const families = [SchemeError, ShapeError, NumericError, CalibrationError];

/**
 * The bytes of a job's result, or of its failure: parts whose header is `{ failure }`.
 * @throws the error of `compute` when another worker, or a later attempt, may succeed
 */
export async function resultOrFailure(compute: () => Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await compute();
  } catch (error) {
    const failure = failureOf(error);
    if (!failure) throw error;
    return packParts<{ readonly failure: JobFailure }>({ header: { failure }, parts: [] });
  }
}

/** The failure as a result; undefined when another worker, or a later attempt, may succeed. */
function failureOf(error: unknown): JobFailure | undefined {
  if (error instanceof ScaleRangeError) return { name: error.name, message: error.message, module: error.module };
  const family = families.find((each) => error instanceof each);
  return family ? { name: new family('').name, message: (error as Error).message } : undefined;
}

/** The error of a failure, with its original class. */
export function errorOf({ name, message, module }: JobFailure): QuantError {
  if (module !== undefined) return new ScaleRangeError(message, module);
  const family = families.find((each) => new each('').name === name) ?? SchemeError;
  return new family(message);
}
