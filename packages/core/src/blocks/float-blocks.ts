import { allFinite } from '../all-finite.js';
import type { BlockFormat } from '../contracts/block-kernels.js';
import { viewBytes } from '../dtypes/dtype.js';
import { decodeBf16, decodeF16, encodeBf16, encodeF16 } from '../dtypes/half.js';

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength);

/** Blocks of one value each, so that files can hold unquantized tensors in the same way. */
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

export const f16Block: BlockFormat = {
  name: 'F16',
  values: 1,
  bytes: 2,
  encode(values, out) {
    const patterns = encodeF16(values);
    out.set(bytesOf(patterns));
    return patterns.every((pattern) => (pattern & 0x7c00) !== 0x7c00);
  },
  decode: (bytes, out) => decodeF16(viewBytes('f16', bytes), out),
};

export const bf16Block: BlockFormat = {
  name: 'BF16',
  values: 1,
  bytes: 2,
  encode(values, out) {
    const patterns = encodeBf16(values);
    out.set(bytesOf(patterns));
    return patterns.every((pattern) => (pattern & 0x7f80) !== 0x7f80);
  },
  decode: (bytes, out) => decodeBf16(viewBytes('bf16', bytes), out),
};
