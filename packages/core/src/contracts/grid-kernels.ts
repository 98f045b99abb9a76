/**
 * Fits and rounds linear grids for a whole matrix in one call. The results are the scales and codes of core's plain
 * fits. Implementations use the same operations in f64, where sums of a search may have another order of two terms
 * (less than the last bit of an f32 scale). Or they use f32 with an error bound that never drops the best candidate.
 * Synchronous; scratch memory stays small for matrices of any size.
 */
export interface GridKernels {
  /**
   * Two values of each group `[rows, groups, 2]`, for fits that use only the range: the first value of largest
   * magnitude, and the outermost one on the other side of zero (0 if there is none). NaN is ignored.
   */
  extremes(of: GroupedValues, pairs: Float32Array): void;
  /** The search of `weightedSearch` in every group. */
  sweep(args: GridSweepArgs): void;
  /** The errors of shrunken ranges in every group, within {@link shrinkTolerance}. */
  shrink(args: GridShrinkArgs): void;
  /**
   * `code = clamp(roundHalfEven(x / scale + zero), min, max) - min`, computed in f64.
   * @returns false when a value is NaN or infinite; codes are then undefined
   */
  round(args: GridRoundArgs): boolean;
  /**
   * The same for levels at any distance: the code of level k, where k is the number of thresholds below `x / scale`, in
   * f64.
   * @returns false when a value is NaN or infinite; codes are then undefined
   */
  levels(args: GridLevelsArgs): boolean;
  /**
   * The rounding error of every group, for reports: the sum of `(x - (code + min - zero) * scale)^2` and that of `x^2`.
   * Values of the grid and differences are f32, squares and sums f64.
   */
  errors(args: GridErrorArgs): void;
}

/**
 * A matrix `[rows, columns]` in which `groupSize` consecutive columns of a row share a grid; a row's last group may be
 * shorter.
 */
export interface GroupedValues {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly groupSize: number;
}

export interface GridSweepArgs extends GroupedValues {
  /** Weight of each column `[columns]`; equal weights when absent. */
  readonly importance?: Float32Array;
  /** The format's integers, and the thresholds between them (`x > thresholds[k]` is nearer to `min + k + 1`). */
  readonly min: number;
  readonly max: number;
  readonly thresholds: Float64Array;
  /** Candidates: `points` of them, evenly from `low` to `high` times a start. */
  readonly points: number;
  readonly low: number;
  readonly high: number;
  /**
   * `ends`: the search scales the value of largest magnitude to `min` and to `max`, and takes the better one.
   * `magnitude`: it scales its magnitude to `max`. `zeroPoint`: it also searches an integer zero point.
   */
  readonly aims: 'ends' | 'magnitude' | 'zeroPoint';
  /**
   * Out `[rows, groups]`; 0 for a group of zeros, NaN for magnitudes (beyond 1e-30 to 1e30, infinite) that the caller
   * must fit itself.
   */
  readonly scales: Float64Array;
  /** Out `[rows, groups]`. */
  readonly zeros: Float32Array;
}

/** The largest relative difference between a sum of {@link GridKernels.shrink} and the exact one. */
export const shrinkTolerance = 2.5e-4;

export interface GridShrinkArgs extends GroupedValues {
  readonly importance?: Float32Array;
  /** Grid of each group before it shrinks `[rows, groups]`. */
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  readonly min: number;
  readonly max: number;
  readonly factors: Float32Array;
  readonly norm: number;
  /**
   * Out `[rows, groups, factors]`: weighted sum of `|x/s - q(x/s)|^norm` in units of the group's scale s, or infinity
   * for a factor whose sum exceeds the best one by more than the tolerance. 0 everywhere for a group of scale 0.
   */
  readonly errors: Float32Array;
}

export interface GridRoundArgs extends GroupedValues {
  readonly scales: Float32Array;
  /** 0 when absent. */
  readonly zeros?: Float32Array;
  readonly min: number;
  readonly max: number;
  readonly codes: Uint8Array;
}

export interface GridLevelsArgs extends GroupedValues {
  readonly scales: Float32Array;
  /** Rising; at most 255. */
  readonly thresholds: Float64Array;
  /** Code of each level, one more than thresholds. */
  readonly levelCodes: Uint8Array;
  /** The level that is 0, and its code for quotients whose sign bit is set. -1: no level is 0. */
  readonly zeroIndex: number;
  readonly negativeZero: number;
  readonly codes: Uint8Array;
}

export interface GridErrorArgs extends GroupedValues {
  readonly scales: Float32Array;
  /** 0 when absent. */
  readonly zeros?: Float32Array;
  readonly min: number;
  readonly codes: Uint8Array;
  /** Out `[rows, groups, 2]`: of the differences, of the values. */
  readonly sums: Float64Array;
}
