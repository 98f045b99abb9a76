import { packWords32, unpackWords32 } from '@q/core';

/**
 * Unpacks codes `[out, in]` of a weight that is packed along `in` with transposed words: inverse of
 * `StreamKernels.packTransposed`.
 */
export function unpackRowsTransposed(
  words: Int32Array,
  outFeatures: number,
  inFeatures: number,
  bits: number,
): Uint8Array {
  const height = Math.ceil((inFeatures * bits) / 32);
  const codes = new Uint8Array(outFeatures * inFeatures);
  const packed = new Uint32Array(height);
  for (let row = 0; row < outFeatures; row++) {
    for (let i = 0; i < height; i++) packed[i] = words[i * outFeatures + row];
    unpackWords32(packed, bits, inFeatures, codes.subarray(row * inFeatures, (row + 1) * inFeatures));
  }
  return codes;
}

/**
 * Packs rows `[rows, columns]` each as a stream along its columns: -> `[rows, ceil(columns*bits/32)]` (zero points).
 */
export function packAlongColumns(codes: Uint8Array, rows: number, columns: number, bits: number): Int32Array {
  const words = Math.ceil((columns * bits) / 32);
  const out = new Int32Array(rows * words);
  const view = new Uint32Array(out.buffer);
  for (let row = 0; row < rows; row++) {
    packWords32(
      codes.subarray(row * columns, (row + 1) * columns),
      bits,
      view.subarray(row * words, (row + 1) * words),
    );
  }
  return out;
}

/** Inverse of {@link packAlongColumns}. */
export function unpackAlongColumns(words: Int32Array, rows: number, columns: number, bits: number): Uint8Array {
  const width = Math.ceil((columns * bits) / 32);
  const view = new Uint32Array(words.buffer, words.byteOffset, words.length);
  const out = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    unpackWords32(
      view.subarray(row * width, (row + 1) * width),
      bits,
      columns,
      out.subarray(row * columns, (row + 1) * columns),
    );
  }
  return out;
}
