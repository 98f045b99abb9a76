import type { QuantizedTensor } from '@q/core';

/**
 * How a tensor of the model is made from trained parameters, on the host. The engine sees `value()` as an ordinary
 * tensor and gives the derivative by it; `backward` carries that through the fake quantizer to the parameters. So the
 * forward pass is differentiated by the engine, the quantizer by a few lines one can read, and what the forward pass saw
 * is computed by the very code that makes the exported codes.
 */
export interface Parameterization {
  readonly shape: readonly number[];
  /** Trained in place by an optimizer, by role: `weight`, `scale`, `zero`, `rounding`, ... */
  readonly parameters: Readonly<Record<string, Float32Array>>;
  /** The tensor that the model computes with, row-major. Valid until the next call. */
  value(): Float32Array;
  /**
   * Derivatives of the loss by every parameter, at the parameters of the last `value()`.
   * @param derivative by every element of the value
   */
  backward(derivative: Float32Array): Record<string, Float32Array>;
}

/** One whose value is exactly what a {@link QuantizedTensor} dequantizes to. */
export interface QuantizedParameterization extends Parameterization {
  quantized(): QuantizedTensor;
  /** Training has ended: `value()` gives what `quantized()` dequantizes to. Present where it did not before. */
  settle?(): void;
  /** Puts the parameters back to the start. Present where a tuner may prefer it. */
  restart?(): void;
}
