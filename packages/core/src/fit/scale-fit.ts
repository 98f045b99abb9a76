import type { Scheme } from '../contracts/scheme.js';

/**
 * A rule that finds scale and zero point. One object a rule; `values` is a panel `[rows, columns]` of which each row gets
 * one grid, so that a method can fit a group of all rows at once.
 */
export interface ScaleFit {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /**
   * @param importance weight of each column `[columns]`, when known
   * @param scale out `[rows]`, not yet rounded to the scheme's storage; 0 for a row of zeros, and only there
   * @param zero out `[rows]`, a whole number inside the format's range for `integer` zero points, 0 for symmetric
   */
  fit(
    values: Float32Array,
    rows: number,
    columns: number,
    scheme: Scheme,
    importance: Float32Array | undefined,
    scale: Float32Array,
    zero: Float32Array,
  ): void;
}
