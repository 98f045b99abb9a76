import type { Granularity } from './granularity.js';
import type { NumberFormat } from './number-format.js';
import type { ScaleFit } from './scale-fit.js';

/**
 * How a file stores scales. `store` maps fitted f32 scales to the values that a reader gets, so codes are always
 * computed with the stored scale (docs/reference/file-formats.md#rules-for-all-of-them: codes of the f32 scale are not
 * optimal for the f16 one).
 */
export interface ScaleStorage {
  /** Unique: `f32`, `f16`, `bf16`, `e4m3`, `e8m0`, `double`. */
  readonly name: string;
  /**
   * Rounds scales to their storage. `scales` is row-major `[rows, groups]`; 0 means a group of zeros. Effective scales
   * are never 0 and always finite: a scale that would round to 0 becomes the smallest stored value instead.
   */
  store(scales: Float32Array): StoredScales;
  /** Bits that `count` scales need, second level included. */
  bits(count: number): number;
  /** The fit for this storage, when scales are not free (shared exponents). */
  readonly fit?: ScaleFit;
  /** True when a negative scale cannot be stored: fits then keep to positive ones. */
  readonly unsigned?: boolean;
  /** True when only powers of two can be stored: searches then try exponents. */
  readonly powersOfTwo?: boolean;
  toJSON(): string | Record<string, unknown>;
}

/** Scales as a reader gets them, and the parts that a file layout needs to write them. */
export interface StoredScales {
  /** Effective f32 scales, same length as the input. */
  readonly effective: Float32Array;
  /**
   * Codes, offsets and second-level scales by name, for two-level storages (`global`, `codes`, `absmax2`, `offset`).
   */
  readonly parts?: Readonly<Record<string, Float32Array | Uint8Array>>;
}

/**
 * Everything that is needed to decode codes, and nothing about how they were found. A plain object; `JSON.stringify`
 * writes names, {@link schemeFromJSON} reads them.
 */
export interface Scheme {
  readonly format: NumberFormat;
  readonly granularity: Granularity;
  /**
   * - `none`: symmetric; the value of code `c` is `decode(c) * scale`.
   * - `integer`: asymmetric, the zero point is a value of the format's range.
   * - `float`: asymmetric, any real zero point (HQQ).
   */
  readonly zeroPoint: 'none' | 'integer' | 'float';
  readonly scaleStorage: ScaleStorage;
  /** Activations only: computed at run time on the tensor. Weights and calibrated activations are static (default). */
  readonly dynamic?: boolean;
}
