/** How keys or values of a cache are quantized. */
export interface KvLayout {
  readonly bits: 2 | 3 | 4 | 8;
  /**
   * The values that share a scale: `size` channels of one token, or one channel of `size` tokens (KIVI's keys, arXiv
   * 2402.02750).
   */
  readonly along: 'channels' | 'tokens';
  /** Along channels it divides the number of channels of a head. */
  readonly size: number;
}

/** Codes of keys or values: unsigned, LSB-first along the channels. */
export interface PackedKv extends KvLayout {
  /** `[kvHeads, capacity, headDim * bits / 8]` bytes. */
  readonly codes: Uint8Array;
  /**
   * Of (scale, zero): `[kvHeads, capacity, headDim / size]` along channels, `[kvHeads, ceil(capacity / size), headDim]`
   * along tokens. `value = (code - zero) * scale`.
   */
  readonly scales: Float32Array;
}

export interface KvAttentionArgs {
  /** `[tokens, heads, headDim]`: the last `tokens` of the sequence; each sees the positions up to its own. */
  readonly queries: Float32Array;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Channels of a head, a multiple of 16. */
  readonly headDim: number;
  /** Default `1 / sqrt(headDim)`. */
  readonly scale?: number;
  /** Number of tokens that `keys` and `values` can hold, and number that they hold now. */
  readonly capacity: number;
  readonly packed: number;
  readonly keys: PackedKv;
  readonly values: PackedKv;
  /**
   * Tokens in f32: keys, then values, `[2, kvHeads, leading + window, headDim]`. The `leading` ones are before the packed
   * tokens, and the `window` ones after them.
   */
  readonly unpacked?: Float32Array;
  readonly leading?: number;
  readonly window?: number;
  /** Number of positions up to its own that a query sees: sliding windows. All when absent. */
  readonly reach?: number;
}

/** The part of {@link KvAttentionArgs} that comes from a cache. */
export type KvCacheContent = Omit<KvAttentionArgs, 'queries' | 'tokens' | 'heads' | 'scale' | 'reach'>;

/**
 * Causal softmax attention over a quantized cache, `[tokens, heads, headDim]`; `heads / kvHeads` heads share keys and
 * values.
 * @throws ShapeError when the numbers do not fit together or an array has another length
 */
export type KvAttention = (args: KvAttentionArgs) => Promise<Float32Array>;
