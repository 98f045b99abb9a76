/**
 * Numbers in blocks of bytes: a fixed count of consecutive values becomes a fixed count of bytes that hold the codes and the
 * scales they share. GGUF files are made of them; blocks never cross the end of a row.
 */
export interface BlockFormat {
  /** As GGUF calls it: `Q4_0`, `Q6_K`, `BF16`. */
  readonly name: string;
  /** Values of a block. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /**
   * Key of a fast encoder: kernels that know it may encode instead of `encode`, to the same bytes. Formats without one are
   * encoded by `encode`.
   */
  readonly kernel?: string;
  /**
   * Whole blocks; sums, products and quotients are f32, each rounded, in index order.
   * @param values a multiple of `this.values`
   * @param out `bytes` for each block
   * @param importance weights of the columns `[columns]`: `values` are then whole rows of so many
   * @returns false, content undefined, when a value is not finite or a scale is beyond f16
   */
  encode(values: Float32Array, out: Uint8Array, importance?: Float32Array): boolean;
  /** Whole blocks; `out` has `values` for each of them. */
  decode(bytes: Uint8Array, out: Float32Array): void;
  /** Codes and scales apart, for methods that choose them. Absent where there are none (floats). */
  readonly grid?: BlockGrid;
}

/**
 * The parts of one block: the value of code c in a group is `scale levels[c] - minimum`. Methods choose scales, round them to what
 * the bytes can hold, and then choose codes.
 */
export interface BlockGrid {
  /** Values that share a scale and a minimum; divides `values`. */
  readonly group: number;
  /** What the codes stand for, ascending. */
  readonly levels: Float32Array;
  /** Whether groups have a minimum. */
  readonly affine: boolean;
  /** Each group has an f16 scale of its own, of either sign: one can change while the others stay. */
  readonly freeScales?: true;
  /**
   * Scales and minima that suit the values of one group best, before rounding.
   * @param x `[group]`
   * @param weights of the values, positive
   */
  fit(x: Float32Array, weights: Float32Array): { readonly scale: number; readonly minimum: number };
  /**
   * Writes the scales and minima of one block into its bytes, and replaces them by what a reader finds there.
   * @param scales `[values / group]`
   * @param minima as many; zeros where groups have none
   * @returns false when one is beyond what the bytes hold
   */
  putScales(scales: Float32Array, minima: Float32Array, to: Uint8Array): boolean;
  getScales(from: Uint8Array, scales: Float32Array, minima: Float32Array): void;
  /** Where scales and minima are whole multiples of steps that a block has: one can change while the steps stay. */
  readonly multiples?: BlockMultiples;
  /** Writes the codes of one block `[values]` and leaves its scales as they are. */
  putCodes(codes: Uint8Array, to: Uint8Array): void;
  getCodes(from: Uint8Array, codes: Uint8Array): void;
}

/** Scales and minima of one block as whole numbers of steps. */
export interface BlockMultiples {
  /** The least and the largest whole number of a scale, and of a minimum where groups have one. */
  readonly scale: readonly [number, number];
  readonly minimum?: readonly [number, number];
  /** The steps that the bytes of a block hold. */
  steps(from: Uint8Array): { readonly scale: number; readonly minimum: number };
  /**
   * Writes whole numbers, and leaves steps and codes as they are.
   * @param scales `[values / group]`
   * @param minima as many; of no account where groups have none
   */
  put(scales: Int32Array, minima: Int32Array, to: Uint8Array): void;
}

/** Encoding of blocks. Synchronous. `plainBlocks` is the reference. */
export interface BlockKernels {
  /**
   * `format.encode` of values as they lie in a file; the same bytes.
   * @returns false, content undefined, when a value is not finite or a scale is beyond f16
   */
  encode(args: EncodeBlocksArgs): boolean;
}

export interface EncodeBlocksArgs {
  readonly format: BlockFormat;
  readonly source: BlockSource;
  /** Out: whole blocks. */
  readonly out: Uint8Array;
  /** Weights of the columns; the source is then whole rows. */
  readonly importance?: Float32Array;
}

/** Values, or patterns of 16 bits that stand for them. */
export type BlockSource =
  | { readonly dtype: 'f32'; readonly data: Float32Array }
  | { readonly dtype: 'f16' | 'bf16'; readonly data: Uint16Array };
