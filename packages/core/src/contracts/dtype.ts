/**
 * Storage dtypes, named as in safetensors but in lower case. Narrow floats are stored as their bit patterns: `f16` and
 * `bf16` in 16-bit words, the 8-bit ones in bytes, sub-byte ones packed as in the file.
 */
export interface DTypeData {
  f64: Float64Array;
  f32: Float32Array;
  f16: Uint16Array;
  bf16: Uint16Array;
  i64: BigInt64Array;
  i32: Int32Array;
  i16: Int16Array;
  i8: Int8Array;
  u64: BigUint64Array;
  u32: Uint32Array;
  u16: Uint16Array;
  u8: Uint8Array;
  bool: Uint8Array;
  f8_e4m3: Uint8Array;
  f8_e5m2: Uint8Array;
  f8_e8m0: Uint8Array;
}

export type DType = keyof DTypeData;
