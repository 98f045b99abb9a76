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

/** Rows of {@link OutputDescent} that are moved together. */
export const rowsTogether = 8;

/** A descent on `tr(G D H D^T)`: the outputs of the rows affect the loss together. */
export interface OutputDescentArgs extends DescentArgs {
  /** G `[rows, rows]`, symmetric, with a positive diagonal. */
  readonly outputs: Float32Array;
}

/**
 * The parts of the best changes of the scales of a block's group, for {@link rowsTogether} rows (fewer at the end).
 * The steps t of the scales change the loss by `t C t - 2 t . n`, with C the curvatures and n the numerators.
 */
export interface OutputScaleGains {
  /** Number of the first row. */
  readonly first: number;
  /** `u . (G D H)` of each row, with u = level - zero of its codes in the block. */
  readonly numerators: Float32Array;
  /** `G_ik (u_i H u_k)` `[rows, rows]` */
  readonly curvatures: Float32Array;
}

/** Stores new scales into `scales` of the arguments, and returns their growth for each row. */
export type FitOutputScales = (gains: OutputScaleGains) => Float32Array;

/** Rounded rows that affect the loss together, in the kernels' memory. */
export interface OutputDescent {
  /**
   * Goes through the columns `[start, end)`, {@link rowsTogether} rows at a time. `fit` changes their scales first.
   * Then, column by column and row by row, each code moves to the grid point that is best while all others stay.
   * A scale of 0 keeps its codes.
   * @param fit only for a block that contains all columns of its group
   */
  descend(start: number, end: number, fit?: FitOutputScales): void;
  /** Writes the codes, and frees the memory. */
  close(): void;
}
