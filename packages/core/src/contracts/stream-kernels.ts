/** Decoding and packing of weights on the way from one file to another. Synchronous. `plainStream` is the reference. */
export interface StreamKernels {
  /**
   * Reserves memory in the kernels' own heap: the kernels read arrays there in place, and copy others first.
   * @throws RangeError when there is not enough memory
   */
  reserve(bytes: number): Reserve;
  /**
   * f16 or bf16 patterns as f32 values; exact.
   * @returns false when one of them is NaN or infinite
   */
  decodeHalf(args: DecodeHalfArgs): boolean;
  /**
   * Packs each row of codes as an LSB-first stream of 32-bit words, the last one padded with zeros, and transposes the
   * words.
   */
  packTransposed(args: PackTransposedArgs): void;
}

export interface Reserve {
  /**
   * Begins at a multiple of 64 bytes of its buffer, which may be shared and may have other content. The content is
   * undefined.
   */
  readonly bytes: Uint8Array;
  /** Nothing may use the memory afterwards. */
  release(): void;
}

export interface DecodeHalfArgs {
  readonly dtype: 'f16' | 'bf16';
  readonly patterns: Uint16Array;
  /** Out, as long as `patterns`. */
  readonly values: Float32Array;
}

export interface PackTransposedArgs {
  /** Codes `[rows, columns]` below `2^bits`. */
  readonly codes: Uint8Array;
  readonly rows: number;
  readonly columns: number;
  /** 1 to 8. */
  readonly bits: number;
  /** Out `[ceil(columns * bits / 32), rows]`. */
  readonly words: Int32Array;
}
