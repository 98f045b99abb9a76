/** `Symbol.for` gives the same symbol in every copy of this package: a method from outside may bring its own copy. */
const brand: unique symbol = Symbol.for('@q/QuantError') as never;

/**
 * Base of every error that @q throws on purpose. The message names the file, tensor or option, what was found, what was
 * expected and what to do. The command prints only the message, without a stack trace.
 */
export class QuantError extends Error {
  override name = 'QuantError';
  readonly [brand] = true;
}

/** Whether an error is a QuantError, also when another copy of this package threw it. */
export const isQuantError = (error: unknown): error is QuantError =>
  typeof error === 'object' && error !== null && brand in error;

/** A shape, length or dtype that does not fit. */
export class ShapeError extends QuantError {
  override name = 'ShapeError';
}

/** A scheme, option or recipe that makes no sense, alone or for this tensor. */
export class SchemeError extends QuantError {
  override name = 'SchemeError';
}

/** Numbers that cannot be used: NaN or infinite weights, a Hessian that no damping repairs, a loss that diverged. */
export class NumericError extends QuantError {
  override name = 'NumericError';
}

/** Statistics that are absent, of another width, or without any token. */
export class CalibrationError extends QuantError {
  override name = 'CalibrationError';
}

/** Bytes that are not a valid file of their kind. */
export class FormatError extends QuantError {
  override name = 'FormatError';
}

/** Kernels that cannot run here: the device is absent, lost or too small, or it refuses a kernel. */
export class KernelError extends QuantError {
  override name = 'KernelError';
}
