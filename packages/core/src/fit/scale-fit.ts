import type { GridKernels, GroupedValues } from '../contracts/grid-kernels.js';
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
  /**
   * The same for every group of a matrix, on kernels that do the heavy part of it; results are those of `fit`. Left out by
   * rules that kernels do nothing for.
   * @param scale out `[rows, groups]`
   * @returns false, nothing written, for a scheme that this is not made for
   */
  fitGroups?(
    of: GroupedValues,
    scheme: Scheme,
    importance: Float32Array | undefined,
    scale: Float32Array,
    zero: Float32Array,
    grids: GridKernels,
  ): boolean;
}

/** `fitGroups` of a rule that looks at the outermost values of a row alone: it is given these instead of the row. */
export function fitExtremes(rule: Pick<ScaleFit, 'fit'>): NonNullable<ScaleFit['fitGroups']> {
  return (of, scheme, _importance, scale, zero, grids) => {
    const pairs = new Float32Array(2 * scale.length);
    grids.extremes(of, pairs);
    rule.fit(pairs, scale.length, 2, scheme, undefined, scale, zero);
    return true;
  };
}
