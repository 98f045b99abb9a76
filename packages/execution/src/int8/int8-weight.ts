import { describeScheme, type Int8Weight, type QuantizedTensor, SchemeError, ShapeError } from '@q/core';

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
