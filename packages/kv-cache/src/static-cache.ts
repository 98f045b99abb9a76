import { type CacheScales, QuantError, type Scheme } from '@q/core';
import { checkAppended } from './appended-tokens.js';
import type { HeadSizes } from './packed-side.js';

export interface StaticCacheOptions extends HeadSizes {
  /** Its number format of 8 bits or fewer has the codes (`staticCacheSchemes`). */
  readonly scheme: Scheme;
  /** One scale for all keys, one for all values. */
  readonly scales: CacheScales;
  /** Largest number of tokens in the cache. */
  readonly capacity: number;
}

/**
 * Keys and values of one layer and one sequence as codes of one static scale for each side, as runtimes keep them that
 * read `k_scale` and `v_scale` of a folder (vLLM). Keys and values beyond the largest code are clipped.
 */
export class StaticCache {
  readonly options: StaticCacheOptions;
  #keys = new Uint8Array(0);
  #values = new Uint8Array(0);
  #tokens = 0;
  #freed = false;

  constructor(options: StaticCacheOptions) {
    this.options = options;
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#tokens;
  }

  /** Bytes of the codes; the two scales belong to the model. */
  get bytes(): number {
    return 2 * this.#tokens * this.#width;
  }

  get #width(): number {
    return this.options.kvHeads * this.options.headDim;
  }

  /**
   * Takes `[tokens, kvHeads * headDim]`, positions applied.
   * @param position of the first of the tokens, when the caller knows it; it is checked
   * @throws ShapeError when the arrays are not tokens, the position is not the next one, or the capacity is exceeded;
   *   NumericError when a key or value is not finite; QuantError after {@link dispose}
   */
  append(keys: Float32Array, values: Float32Array, position = this.#tokens): void {
    this.#alive();
    const { capacity, scales } = this.options;
    const tokens = checkAppended(keys, values, position, {
      ...{ width: this.#width, length: this.#tokens, capacity, position: this.#tokens },
      advice: 'make a larger one',
    });
    const own = [this.#codes(keys, scales.key), this.#codes(values, scales.value)] as const;
    this.#reserve(this.#tokens + tokens);
    const at = this.#tokens * this.#width;
    this.#keys.set(own[0], at);
    this.#values.set(own[1], at);
    this.#tokens += tokens;
  }

  /** All tokens, oldest first, as f32 `[length, kvHeads * headDim]`. */
  read(): { readonly keys: Float32Array; readonly values: Float32Array } {
    this.#alive();
    const { scheme, scales } = this.options;
    const side = (codes: Uint8Array, scale: number) =>
      Float32Array.from(codes.subarray(0, this.#tokens * this.#width), (code) => scheme.format.decode(code) * scale);
    return { keys: side(this.#keys, scales.key), values: side(this.#values, scales.value) };
  }

  /** The queries as they are: no keys are rotated. */
  queries(plain: Float32Array): Float32Array {
    return plain;
  }

  dispose(): void {
    this.#freed = true;
    this.#keys = new Uint8Array(0);
    this.#values = new Uint8Array(0);
  }

  #codes(from: Float32Array, scale: number): Uint8Array {
    const { format } = this.options.scheme;
    return Uint8Array.from(from, (value) => format.encode(value / scale));
  }

  /** Grows the arrays to this many tokens. */
  #reserve(tokens: number): void {
    const size = this.#keys.length;
    if (tokens * this.#width <= size) return;
    const grown = (codes: Uint8Array) => {
      const out = new Uint8Array(Math.max(2 * size, 64 * this.#width * Math.ceil(tokens / 64)));
      out.set(codes);
      return out;
    };
    this.#keys = grown(this.#keys);
    this.#values = grown(this.#values);
  }

  #alive(): void {
    if (this.#freed) throw new QuantError('the cache is freed: it cannot be used');
  }
}
