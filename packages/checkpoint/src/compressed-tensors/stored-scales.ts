import { bf16Scale, encodeBf16, encodeF16, f16Scale, f32Scale, type ScaleStorage, type Tensor, tensor } from '@q/core';
import type { FileDtype } from '@q/safetensors';

/** The form in which scales of one storage are written. */
export interface StoredScaleType {
  readonly dtype: FileDtype;
  readonly storage: ScaleStorage;
  encode(scales: Float32Array, shape: readonly number[]): Tensor;
}

const types: readonly StoredScaleType[] = [
  { dtype: 'F32', storage: f32Scale, encode: (scales, shape) => tensor('f32', shape, scales) },
  { dtype: 'F16', storage: f16Scale, encode: (scales, shape) => tensor('f16', shape, encodeF16(scales)) },
  { dtype: 'BF16', storage: bf16Scale, encode: (scales, shape) => tensor('bf16', shape, encodeBf16(scales)) },
];

/** The dtype of a storage in files of compressed-tensors; undefined for storages that it does not support. */
export const storedAs = (storage: ScaleStorage): StoredScaleType | undefined =>
  types.find((each) => each.storage.name === storage.name);
