import type { QuantizedTensor } from '@q/core';

/**
 * Makes a tensor of the model from trained parameters, on the host. The engine gets `value()` as an ordinary tensor and
 * computes the derivative by it; `backward` carries that derivative through the fake quantizer to the parameters. So
 * the engine differentiates the forward pass, and a few lines of code differentiate the quantizer. The code that makes
 * the exported codes also computes the values of the forward pass.
 */
export interface Parameterization {
  readonly shape: readonly number[];
  /** The parameters that an optimizer trains in place, by role: `weight`, `scale`, `zero`, `rounding`, ... */
  readonly parameters: Readonly<Record<string, Float32Array>>;
  /** The tensor that the model computes with, row-major. Valid until the next call. */
  value(): Float32Array;
  /**
   * Derivatives of the loss by every parameter, at the parameters of the last `value()`.
   * @param derivative by every element of the value
   */
  backward(derivative: Float32Array): Record<string, Float32Array>;
}

/** A parameterization whose value is exactly the dequantized {@link QuantizedTensor}. */
export interface QuantizedParameterization extends Parameterization {
  quantized(): QuantizedTensor;
  /** Ends the training: from now on `value()` equals the dequantized `quantized()`. Present if it did not before. */
  settle?(): void;
  /** Resets the parameters to the start. Present if a tuner may prefer the start. */
  restart?(): void;
}
