import { SchemeError, ShapeError } from '../contracts/errors.js';
import type { QuantizedTensor } from '../contracts/quantized-tensor.js';
import { describeScheme } from '../schemes/scheme.js';

/** A weight in the form for integer products: `w[o,i] = codes[o,i] * scales[o]`. */
export interface Int8Weight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** `[out, in]` */
  readonly codes: Int8Array;
  /** `[out]`, or `[1]` when the whole weight shares one. */
  readonly scales: Float32Array;
}

/**
 * A quantized weight in two's complement.
 * @throws SchemeError when it is not symmetric int8 with one scale per tensor or per channel
 */
export function int8Weight(quantized: QuantizedTensor): Int8Weight {
  const { scheme, shape, codes, scales } = quantized;
  const { kind } = scheme.granularity;
  if (scheme.format.name !== 'int8' || scheme.zeroPoint !== 'none' || (kind !== 'tensor' && kind !== 'channel')) {
    throw new SchemeError(
      `${describeScheme(scheme)}: integer products need symmetric int8 weights with a scale per tensor or per channel`,
    );
  }
  if (shape.length !== 2) throw new ShapeError(`a weight [${shape}] is not a matrix [out, in]`);
  const signed = new Int8Array(codes.length);
  for (let i = 0; i < codes.length; i++) signed[i] = codes[i] - 128;
  return { outFeatures: shape[0], inFeatures: shape[1], codes: signed, scales };
}
