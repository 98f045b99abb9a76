import { packWords32, unpackWords32 } from '@q/core';

/**
 * Packs the weight's codes, which are `[out, in]` in memory, along `in`: -> `[ceil(in*bits/32), out]`, I32 (formats.md
 * 2.2). Each row is one LSB-first stream, so nothing is transposed but the words.
 */
export function packRowsTransposed(
  codes: Uint8Array,
  outFeatures: number,
  inFeatures: number,
  bits: number,
): Int32Array {
  const words = Math.ceil((inFeatures * bits) / 32);
  const out = new Int32Array(words * outFeatures);
  // Sixteen rows at a time: a word of each fills a line of the cache.
  const panel = Array.from({ length: Math.min(16, outFeatures) }, () => new Uint32Array(words));
  for (let top = 0; top < outFeatures; top += panel.length) {
    const height = Math.min(panel.length, outFeatures - top);
    for (let k = 0; k < height; k++)
      packWords32(codes.subarray((top + k) * inFeatures, (top + k + 1) * inFeatures), bits, panel[k]);
    for (let i = 0; i < words; i++) for (let k = 0; k < height; k++) out[i * outFeatures + top + k] = panel[k][i];
  }
  return out;
}

/** Inverse of {@link packRowsTransposed}. */
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

/** Packs rows `[rows, columns]` each as a stream along its columns: -> `[rows, ceil(columns*bits/32)]` (zero points). */
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
