import type { RoundingGrid } from './kernels.js';

/**
 * Rounded rows on which coordinate descent on `tr(D H D^T)` goes, `D = T - Q`: they stay where the kernels compute while columns
 * are taken block by block. Columns of a block are consecutive.
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
  /** `[rows, columns]`, as {@link GptqBlockArgs} writes them; the new ones when it is closed. */
  readonly codes: Uint8Array;
}

/** What the scale of a block could gain, row by row, with u = level - zero of its codes. */
export interface ScaleGains {
  /** `u . (D H)` `[rows]` */
  readonly numerators: Float32Array;
  /** `u H u` `[rows]` */
  readonly curvatures: Float32Array;
}

export interface Descent {
  /** Computes D H of columns `[start, end)`, which {@link descend} goes on from. */
  gradient(start: number, end: number): void;
  /** After `gradient`, of a block whose columns are all that a group has. */
  scaleGains(start: number, end: number): ScaleGains;
  /**
   * Every column in turn goes to the grid point that is best while all others stay.
   * @param steps `[rows]`, after `scaleGains`: by how much the scale of the block's group has grown
   */
  descend(start: number, end: number, steps?: Float32Array): void;
  /** Writes the codes, and frees the memory. */
  close(): void;
}
