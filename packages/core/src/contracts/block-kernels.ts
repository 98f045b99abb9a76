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
   * Key of a fast encoder: kernels that know it may encode in place of `encode`, to the same bytes. Formats without one are
   * encoded by `encode`.
   */
  readonly kernel?: string;
  /**
   * Whole blocks; sums, products and quotients are f32, each rounded, in index order.
   * @param values a multiple of `this.values`
   * @param out `bytes` for each block
   * @returns false, content undefined, when a value is not finite or a scale is beyond f16
   */
  encode(values: Float32Array, out: Uint8Array): boolean;
  /** Whole blocks; `out` has `values` for each of them. */
  decode(bytes: Uint8Array, out: Float32Array): void;
}

/** Encoding of blocks. Synchronous. `plainBlocks` is the reference, and what is used where kernels have none of their own. */
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
}

/** Values, or patterns of 16 bits that stand for them. */
export type BlockSource =
  | { readonly dtype: 'f32'; readonly data: Float32Array }
  | { readonly dtype: 'f16' | 'bf16'; readonly data: Uint16Array };
