import type { Scheme, StoredScales } from './scheme.js';

/**
 * A quantized matrix in the order of the original, one code an element. A layout packs the codes when it writes a file.
 *
 * `value[i,j] = (scheme.format.decode(codes[i*columns+j]) - zeroPoints[s]) * scales[s]`, where `s` is the scale index
 * of element (i,j) under the scheme's granularity (`scaleIndex` in core), or row-major `[rows, groups]` with the group
 * of column j from `groupIndex` if that is present.
 */
export interface QuantizedTensor {
  readonly scheme: Scheme;
  readonly shape: readonly number[];
  /** Unsigned codes, row-major, one element each. */
  readonly codes: Uint8Array | Uint16Array;
  /** Effective scales (already rounded to the scheme's storage), row-major over the granularity's grid. */
  readonly scales: Float32Array;
  /** Zero points in units of decoded values, as long as `scales`; absent when the scheme has none. */
  readonly zeroPoints?: Float32Array;
  /** Group of each column `[columns]` when groups are not consecutive columns (act-order without static groups). */
  readonly groupIndex?: Int32Array;
  /** Further parts of the scale storage (second-level scales, offsets). */
  readonly storedScales?: StoredScales;
  /** Levels of a codebook fitted to this tensor, `[2^bits]` or `[rows, 2^bits]`; replaces the format's `decode`. */
  readonly codebook?: Float32Array;
}
