import type { BlockFormat, BlockGrid } from '@q/core';

/** A weight to be written as blocks. */
export interface BlockMatrix {
  readonly format: BlockFormat;
  readonly grid: BlockGrid;
  readonly rows: number;
  readonly columns: number;
  /** Groups of a row. */
  readonly groups: number;
}

export interface Grids {
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
}

export interface Candidate extends Grids {
  readonly bytes: Uint8Array;
  readonly codes: Uint8Array;
  readonly loss: Float64Array;
}

/** Blocks in the order of the rows. */
export function eachBlock(
  { format }: BlockMatrix,
  bytes: Uint8Array,
  use: (to: Uint8Array, block: number) => void,
): void {
  for (let block = 0; block * format.bytes < bytes.length; block++)
    use(bytes.subarray(block * format.bytes, (block + 1) * format.bytes), block);
}
