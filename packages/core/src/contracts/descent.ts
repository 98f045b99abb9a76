import type { RoundingGrid } from './kernels.js';

/**
 * Arguments of a coordinate descent on `tr(D H D^T)`, `D = T - Q`, over rounded rows. The rows stay in the kernels'
 * memory while the caller goes over blocks of columns. Columns of a block are consecutive.
 */
export interface DescentArgs {
  readonly rows: number;
  readonly columns: number;
  /** T `[rows, columns]`. */
  readonly target: Float32Array;
  /** H `[columns, columns]`, symmetric, with a positive diagonal. */
  readonly hessian: Float32Array;
  readonly grid: RoundingGrid;
  readonly groups: number;
  /** Group of each column. */
  readonly group: Int32Array;
  /** `[rows, groups]` */
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  /** `[rows, columns]`, as {@link GptqBlockArgs} writes them. `close` writes the new codes here. */
  readonly codes: Uint8Array;
}

/** The parts of the best change of a block's scale, for each row, with u = level - zero of its codes. */
export interface ScaleGains {
  /** `u . (D H)` `[rows]` */
  readonly numerators: Float32Array;
  /** `u H u` `[rows]` */
  readonly curvatures: Float32Array;
}

export interface Descent {
  /** Computes D H of columns `[start, end)`, from which {@link descend} starts. */
  gradient(start: number, end: number): void;
  /** Call it after `gradient`, for a block that contains all columns of its group. */
  scaleGains(start: number, end: number): ScaleGains;
  /**
   * Moves each column in turn to the grid point that is best while all others stay.
   * @param steps `[rows]`, after `scaleGains`: the growth of the scale of the block's group
   */
  descend(start: number, end: number, steps?: Float32Array): void;
  /** Writes the codes, and frees the memory. */
  close(): void;
}
