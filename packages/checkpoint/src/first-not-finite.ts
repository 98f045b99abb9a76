import { NumericError, tensor, toF32, viewBytes } from '@q/core';
import { coreDtype, type FileDtype, type TensorEntry } from '@q/safetensors';

/** All exponent bits, in the unit that contains them: only NaN and infinity have all of them set. */
const exponents: Partial<Record<FileDtype, { readonly width: 2 | 4; readonly mask: number }>> = {
  F16: { width: 2, mask: 0x7c00 },
  BF16: { width: 2, mask: 0x7f80 },
  F32: { width: 4, mask: 0x7f800000 },
};

/**
 * Byte offset of the first NaN or infinity in a tensor's bytes, or -1; always -1 for dtypes other than F16, BF16 and
 * F32.
 * @param bytes a whole number of values
 */
export function firstNotFinite(dtype: FileDtype, bytes: Uint8Array): number {
  const exponent = exponents[dtype];
  if (!exponent) return -1;
  const { width, mask } = exponent;
  const aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset, byteLength } = aligned;
  const units =
    width === 2
      ? new Uint16Array(buffer, byteOffset, byteLength / 2)
      : new Uint32Array(buffer, byteOffset, byteLength / 4);
  for (let i = 0; i < units.length; i++) if ((units[i] & mask) === mask) return width * i;
  return -1;
}

/**
 * @param path of the checkpoint, for the message
 * @param bytes a part of the tensor's data: a whole number of values
 * @param first index of the part's first element in the tensor
 * @throws NumericError naming the first NaN or infinity
 */
export function refuseNotFinite(path: string, { name, dtype }: TensorEntry, bytes: Uint8Array, first: number): void {
  const bad = firstNotFinite(dtype, bytes);
  const width = exponents[dtype]?.width;
  const type = coreDtype(dtype);
  if (bad < 0 || !width || !type) return;
  const [value] = toF32(tensor(type, [1], viewBytes(type, bytes.subarray(bad, bad + width))));
  throw new NumericError(
    `${path}: tensor ${name} holds ${value} at element ${first + bad / width}: repair the checkpoint first`,
  );
}
