import { allFinite, type BlockFormat, decodeBf16, decodeF16, encodeBf16, encodeF16, viewBytes } from '@q/core';

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength);

/** Blocks of one value each, so files can store unquantized tensors in the same way. */
export const f32Block: BlockFormat = {
  name: 'F32',
  values: 1,
  bytes: 4,
  encode(values, out) {
    out.set(bytesOf(values));
    return allFinite(values);
  },
  decode: (bytes, out) => out.set(viewBytes('f32', bytes)),
};

/** @param exponent all bits of the exponent: only NaN and infinities have all of them set */
const halfBlock = (
  dtype: 'f16' | 'bf16',
  exponent: number,
  encode: (values: Float32Array) => Uint16Array,
  decode: (patterns: Uint16Array, out: Float32Array) => unknown,
): BlockFormat => ({
  ...{ name: dtype.toUpperCase(), values: 1, bytes: 2 },
  encode(values, out) {
    const patterns = encode(values);
    out.set(bytesOf(patterns));
    return patterns.every((pattern) => (pattern & exponent) !== exponent);
  },
  decode: (bytes, out) => void decode(viewBytes(dtype, bytes), out),
});

export const f16Block: BlockFormat = halfBlock('f16', 0x7c00, encodeF16, decodeF16);
export const bf16Block: BlockFormat = halfBlock('bf16', 0x7f80, encodeBf16, decodeBf16);
