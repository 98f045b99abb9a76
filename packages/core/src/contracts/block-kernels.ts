/**
 * Encodes numbers in blocks of bytes: a fixed count of consecutive values becomes a fixed count of bytes with the codes
 * and the scales of these values. GGUF files consist of such blocks. A block never crosses the end of a row.
 */
export interface BlockFormat {
  /** The name in GGUF: `Q4_0`, `Q6_K`, `BF16`. */
  readonly name: string;
  /** Values of a block. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /**
   * Key of a fast encoder. Kernels with this key may replace `encode`, and give the same bytes. Absent: only `encode`
   * encodes.
   */
  readonly kernel?: string;
  /**
   * Encodes whole blocks. Sums, products and quotients are f32, each rounded, in index order.
   * @param values a multiple of `this.values`
   * @param out `bytes` for each block
   * @param importance weights of the columns `[columns]`; `values` are then whole rows of this length
   * @returns false when a value is not finite or a scale is too large for f16; `out` is then undefined
   */
  encode(values: Float32Array, out: Uint8Array, importance?: Float32Array): boolean;
  /** Decodes whole blocks; `out` has `values` for each of them. */
  decode(bytes: Uint8Array, out: Float32Array): void;
  /** Access to codes and scales, for methods that choose them. Absent for floats, which have none. */
  readonly grid?: BlockGrid;
}

/**
 * The parts of one block: the value of code c in a group is `scale levels[c] - minimum`. A method chooses scales,
 * rounds them to the precision of the bytes, and then chooses codes.
 */
export interface BlockGrid {
  /** Values that share a scale and a minimum; divides `values`. */
  readonly group: number;
  /** The values of the codes, ascending. */
  readonly levels: Float32Array;
  /** Whether groups have a minimum. */
  readonly affine: boolean;
  /** True when each group has its own f16 scale, of either sign, so one scale can change while the others stay. */
  readonly freeScales?: true;
  /**
   * The best scales and minima for the values of one group, before rounding.
   * @param x `[group]`
   * @param weights of the values, positive
   */
  fit(x: Float32Array, weights: Float32Array): { readonly scale: number; readonly minimum: number };
  /**
   * Writes the scales and minima of one block into its bytes. Replaces the arguments by the values that a reader gets
   * from these bytes.
   * @param scales `[values / group]`
   * @param minima `[values / group]`; zeros if groups have no minimum
   * @returns false when one is too large for the bytes
   */
  putScales(scales: Float32Array, minima: Float32Array, to: Uint8Array): boolean;
  getScales(from: Uint8Array, scales: Float32Array, minima: Float32Array): void;
  /** For blocks whose scales and minima are integer multiples of steps: one can change while the steps stay. */
  readonly multiples?: BlockMultiples;
  /** Writes the codes of one block `[values]` and leaves its scales as they are. */
  putCodes(codes: Uint8Array, to: Uint8Array): void;
  getCodes(from: Uint8Array, codes: Uint8Array): void;
}

/** Scales and minima of one block as integer multiples of steps. */
export interface BlockMultiples {
  /** The smallest and the largest integer of a scale, and of a minimum if groups have one. */
  readonly scale: readonly [number, number];
  readonly minimum?: readonly [number, number];
  /** The steps in the bytes of a block. */
  steps(from: Uint8Array): { readonly scale: number; readonly minimum: number };
  /**
   * Writes the integers, and leaves steps and codes as they are.
   * @param scales `[values / group]`
   * @param minima `[values / group]`; ignored if groups have no minimum
   */
  put(scales: Int32Array, minima: Int32Array, to: Uint8Array): void;
}

/** Encodes blocks. Synchronous. `plainBlocks` is the reference. */
export interface BlockKernels {
  /**
   * `format.encode` for values as a file stores them; gives the same bytes.
   * @returns false when a value is not finite or a scale is too large for f16; `out` is then undefined
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

/** Values as f32, or as 16-bit patterns of f16 or bf16. */
export type BlockSource =
  | { readonly dtype: 'f32'; readonly data: Float32Array }
  | { readonly dtype: 'f16' | 'bf16'; readonly data: Uint16Array };
