/**
 * Eight scales and eight minima of 6 bits in twelve bytes (ggml-quants.c, Q4_K): the top bits of the last four of each
 * are in the bytes of the first four.
 */
export function putSixBitScales(
  scales: ArrayLike<number>,
  minima: ArrayLike<number>,
  out: Uint8Array,
  at: number,
): void {
  for (let j = 0; j < 4; j++) {
    out[at + j] = scales[j] | ((scales[j + 4] >> 4) << 6);
    out[at + j + 4] = minima[j] | ((minima[j + 4] >> 4) << 6);
    out[at + j + 8] = (scales[j + 4] & 15) | ((minima[j + 4] & 15) << 4);
  }
}

export function sixBitScale(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j] & 63 : (bytes[at + j + 4] & 15) | ((bytes[at + j - 4] >> 6) << 4);
}

export function sixBitMinimum(bytes: Uint8Array, at: number, j: number): number {
  return j < 4 ? bytes[at + j + 4] & 63 : (bytes[at + j + 4] >> 4) | ((bytes[at + j] >> 6) << 4);
}
