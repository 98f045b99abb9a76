import type { GridKernels, GroupedValues } from './grid-kernels.js';
import type { Scheme } from './scheme.js';

/**
 * A fit: finds scale and zero point. It works on a panel of rows, so a method can fit a group of all rows with one
 * call.
 */
export interface ScaleFit {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Finds one grid for each row of a panel. */
  fit(panel: FitPanel): void;
  /**
   * The same for every group of a matrix, with kernels for the heavy part; the results equal those of `fit`. Absent for
   * fits that kernels cannot speed up.
   * @returns false, with nothing written, for a scheme that it does not support
   */
  fitGroups?(groups: FitGroups, grids: GridKernels): boolean;
}

/** The input of a fit, and the arrays for its results. */
export interface FitTask {
  readonly scheme: Scheme;
  /** Weight of each column `[columns]`, when known. */
  readonly importance?: Float32Array;
  /** Out, one a grid: not yet rounded to the scheme's storage; 0 only for a grid of zeros. */
  readonly scale: Float32Array;
  /** Out, one a grid: an integer inside the format's range for `integer` zero points, 0 for symmetric ones. */
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
