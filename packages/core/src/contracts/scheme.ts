import type { Granularity } from './granularity.js';
import type { NumberFormat } from './number-format.js';
import type { ScaleFit } from './scale-fit.js';

/**
 * How scales are kept in the file. `store` maps fitted f32 scales to what a reader will see, so that codes are always
 * computed against the scale that is really stored (docs/reference/file-formats.md#rules-for-all-of-them: codes of the f32 scale are not optimal for the f16 one).
 */
export interface ScaleStorage {
  /** Unique: `f32`, `f16`, `bf16`, `e4m3`, `e8m0`, `double`. */
  readonly name: string;
  /**
   * Rounds scales to what is stored. `scales` is row-major `[rows, groups]`; 0 stands for a group of zeros. Effective
   * scales are never 0 and always finite: what would round to 0 becomes the smallest stored value instead.
   */
  store(scales: Float32Array): StoredScales;
  /** Bits that `count` scales need, second level included. */
  bits(count: number): number;
  /** The rule that this storage is made for, when scales are not free (shared exponents). */
  readonly fit?: ScaleFit;
  /** True when a negative scale cannot be stored: fits then keep to positive ones. */
  readonly unsigned?: boolean;
  /** True when only powers of two can be stored: searches then try exponents. */
  readonly powersOfTwo?: boolean;
  toJSON(): string | Record<string, unknown>;
}

/** Scales as a reader will see them, and what a file layout needs to write them. */
export interface StoredScales {
  /** Effective f32 scales, same length as the input. */
  readonly effective: Float32Array;
  /** Codes, offsets and second-level scales by name, for two-level storages (`global`, `codes`, `absmax2`, `offset`). */
  readonly parts?: Readonly<Record<string, Float32Array | Uint8Array>>;
}

/**
 * Everything that is needed to read codes back, and nothing about how they were found. A plain object; `JSON.stringify`
 * gives names, {@link schemeFromJSON} reads them back.
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
