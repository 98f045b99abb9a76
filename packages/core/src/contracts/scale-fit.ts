import type { GridKernels, GroupedValues } from './grid-kernels.js';
import type { Scheme } from './scheme.js';

/**
 * A rule that finds scale and zero point. One object a rule. It works on a panel of rows at once, so that a method can fit a group
 * of all rows with one call.
 */
export interface ScaleFit {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Finds one grid for each row of a panel. */
  fit(panel: FitPanel): void;
  /**
   * The same for every group of a matrix, on kernels that do the heavy part of it; results are those of `fit`. Left out by
   * rules that kernels do nothing for.
   * @returns false, nothing written, for a scheme that this is not made for
   */
  fitGroups?(groups: FitGroups, grids: GridKernels): boolean;
}

/** What a rule fits, and where its results go. */
export interface FitTask {
  readonly scheme: Scheme;
  /** Weight of each column `[columns]`, when known. */
  readonly importance?: Float32Array;
  /** Out, one a grid: not yet rounded to the scheme's storage; 0 for a grid of zeros, and only there. */
  readonly scale: Float32Array;
  /** Out, one a grid: a whole number inside the format's range for `integer` zero points, 0 for symmetric ones. */
  readonly zero: Float32Array;
}

/** A panel of which each row gets one grid: `scale` and `zero` are `[rows]`. */
export interface FitPanel extends FitTask {
  /** `[rows, columns]`. */
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** A matrix of which each group gets one grid: `scale` and `zero` are `[rows, groups]`. */
export interface FitGroups extends FitTask, GroupedValues {}
