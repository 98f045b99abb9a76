import type { DType, DTypeData } from '../contracts/dtype.js';

/** Bytes of one element. */
export const bytesPerElement: Readonly<Record<DType, number>> = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i32: 4,
  i16: 2,
  i8: 1,
  u64: 8,
  u32: 4,
  u16: 2,
  u8: 1,
  bool: 1,
  f8_e4m3: 1,
  f8_e5m2: 1,
  f8_e8m0: 1,
};

const constructors = {
  f64: Float64Array,
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i64: BigInt64Array,
  i32: Int32Array,
  i16: Int16Array,
  i8: Int8Array,
  u64: BigUint64Array,
  u32: Uint32Array,
  u16: Uint16Array,
  u8: Uint8Array,
  bool: Uint8Array,
  f8_e4m3: Uint8Array,
  f8_e5m2: Uint8Array,
  f8_e8m0: Uint8Array,
} as const;

/** A zeroed array of `length` elements. */
export function allocate<D extends DType>(dtype: D, length: number): DTypeData[D] {
  return new constructors[dtype](length) as DTypeData[D];
}

/** Reads little-endian bytes as elements; copies when `bytes` is not aligned. */
export function viewBytes<D extends DType>(dtype: D, bytes: Uint8Array): DTypeData[D] {
  const size = bytesPerElement[dtype];
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new constructors[dtype](
    aligned.buffer as ArrayBuffer,
    aligned.byteOffset,
    aligned.byteLength / size,
  ) as DTypeData[D];
}
