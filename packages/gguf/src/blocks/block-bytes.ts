import { f16ToF32, f32ToF16 } from '@q/core';

/** Writes the f16 nearest to `x`. Returns whether it is finite. */
export function putF16(out: Uint8Array, at: number, x: number): boolean {
  const pattern = f32ToF16(x);
  out[at] = pattern & 255;
  out[at + 1] = pattern >> 8;
  return (pattern & 0x7c00) !== 0x7c00;
}

export const getF16 = (bytes: Uint8Array, at: number): number => f16ToF32(bytes[at] | (bytes[at + 1] << 8));

/** A view of block `index`. */
export const blockOf = <A extends Float32Array | Uint8Array>(array: A, index: number, size: number): A =>
  array.subarray(index * size, (index + 1) * size) as A;

/** Codes of 32 values: the first sixteen in the low halves of sixteen bytes, the others in the high ones. */
export function putNibbles(codes: Uint8Array, out: Uint8Array, at: number): void {
  for (let j = 0; j < 16; j++) out[at + j] = (codes[j] & 15) | ((codes[j + 16] & 15) << 4);
}

export const getNibble = (bytes: Uint8Array, at: number, j: number): number =>
  j < 16 ? bytes[at + j] & 15 : bytes[at + j - 16] >> 4;

/** The fifth bit of each of 32 codes, in a little-endian word. */
export function putFifthBits(codes: Uint8Array, out: Uint8Array, at: number): void {
  for (let k = 0; k < 4; k++) {
    let byte = 0;
    for (let j = 0; j < 8; j++) byte |= ((codes[8 * k + j] >> 4) & 1) << j;
    out[at + k] = byte;
  }
}

export const getFifthBit = (bytes: Uint8Array, at: number, j: number): number =>
  ((bytes[at + (j >> 3)] >> (j & 7)) & 1) << 4;
