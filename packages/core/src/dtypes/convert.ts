import type { DType } from '../contracts/dtype.js';
import { ShapeError } from '../contracts/errors.js';
import type { Tensor } from '../contracts/tensor.js';
import { tensor } from '../tensor.js';
import { decodeBf16, decodeF16, encodeBf16, encodeF16 } from './half.js';

/**
 * Values as f32. Exact for f16, bf16, i16, i8, u16, u8 and bool; rounded half to even for the wider ones. An f32 tensor
 * gives its own data, not a copy.
 * @param out receives decoded f16 and bf16 values if it is long enough
 * @throws ShapeError for 8-bit float dtypes, which are codes and need their scale
 */
export function toF32(t: Tensor, out?: Float32Array): Float32Array {
  const room = out && out.length >= t.data.length ? out.subarray(0, t.data.length) : undefined;
  switch (t.dtype) {
    case 'f32':
      return t.data as Float32Array;
    case 'f16':
      return decodeF16(t.data as Uint16Array, room);
    case 'bf16':
      return decodeBf16(t.data as Uint16Array, room);
    case 'i64':
    case 'u64':
      return Float32Array.from(t.data as BigInt64Array, Number);
    case 'f8_e4m3':
    case 'f8_e5m2':
    case 'f8_e8m0':
      throw new ShapeError(`a tensor of dtype ${t.dtype} holds codes: decode it with its number format and scale`);
    default:
      return Float32Array.from(t.data as Float64Array);
  }
}

/** f32 values as a tensor of a float dtype, rounded half to even. */
export function fromF32<D extends DType>(dtype: D, shape: readonly number[], values: Float32Array): Tensor<D> {
  switch (dtype) {
    case 'f32':
      return tensor('f32', shape, values) as Tensor as Tensor<D>;
    case 'f16':
      return tensor('f16', shape, encodeF16(values)) as Tensor as Tensor<D>;
    case 'bf16':
      return tensor('bf16', shape, encodeBf16(values)) as Tensor as Tensor<D>;
    case 'f64':
      return tensor('f64', shape, Float64Array.from(values)) as Tensor as Tensor<D>;
    default:
      throw new ShapeError(`f32 values can be stored as f64, f32, f16 or bf16, not as ${dtype}`);
  }
}
