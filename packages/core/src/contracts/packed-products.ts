import type { Int8Input } from './int8-product.js';

/**
 * Integers in groups whose codes stay packed, in the form of GPTQ files
 * (docs/reference/file-formats.md#tensors-of-gptq): `w[o,i] = (code - zero) * scale`.
 */
export interface PackedWeight {
  readonly outFeatures: number;
  /** A multiple of the `32 / bits` codes of a word. */
  readonly inFeatures: number;
  readonly bits: 2 | 4 | 8;
  /** Consecutive inputs that share a scale: a multiple of `32 / bits`; -1: all inputs of an output (per channel). */
  readonly groupSize: number;
  /**
   * `[in * bits / 32, out]`: code i of an output is in word `i * bits / 32`, the first one in the lowest bits. As bytes: a code a byte,
   * `[out, in]`, each below `2^bits`.
   */
  readonly codes: Int32Array | Uint32Array | Uint8Array;
  /** `[groups, out]`, `groups = ceil(in / groupSize)`. */
  readonly scales: Float32Array;
  /** `[groups, out]`, in units of codes. */
  readonly zeros: Float32Array;
}

/** A weight as the sum of packed weights of one shape; most have one part. */
export interface SummedPackedWeight {
  readonly parts: readonly PackedWeight[];
  /** Input i of the parts is feature `order[i]`, `[in]`, each once: for groups whose features are not consecutive. */
  readonly order?: Int32Array;
}

/** `y = x w^T` with a weight that stays packed. */
export interface PackedLinear {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** Bytes of the weight in memory: codes, scales and zero points. */
  readonly bytes: number;
  /**
   * `x` `[tokens, in]` -> `[tokens, out]`, f32.
   * @throws ShapeError when `x` does not have `tokens * in` values
   */
  multiply(x: Float32Array, tokens: number): Promise<Float32Array>;
  /**
   * Inputs in 8 bits: with `t` tokens, `o` outputs and `g` groups,
   * `y[t,o] = s_t sum_g scale[g,o] (sum_{i in g} code[i,o] x[t,i] - zero[g,o] sum_{i in g} x[t,i])`, both inner sums in
   * i32.
   * @throws ShapeError when the input has another width or number of scales; QuantError for a weight of 8 bits, whose
   * products with inputs of 8 bits do not fit the 16-bit sums of kernels
   */
  multiplyInt8(input: Int8Input): Promise<Float32Array>;
  /** Frees the weight. Later products are refused. */
  dispose(): void;
}

/** Products with packed weights of one set of kernels, for few tokens (decoding) and for many (prompts). */
export interface PackedProducts {
  /** Unique, for reports: `reference`, `wasm-simd128`, `wasm-relaxed`. */
  readonly name: string;
  /** Number of threads. Results do not depend on it. */
  readonly threads: number;
  /**
   * Loads a weight. The arrays are copied.
   * @throws ShapeError when the shape does not fill words, a group ends within one, or an array has another length
   */
  load(weight: PackedWeight): Promise<PackedLinear>;
  dispose(): Promise<void>;
}
