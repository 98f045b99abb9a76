import { FormatError, type KvCacheContent, QuantError, SchemeError, ShapeError } from '@q/core';
import { checkAppended } from './appended-tokens.js';
import { type CacheScheme, type CacheSide, checkCacheScheme, tokensTogether } from './cache-scheme.js';
import { type HeadSizes, PackedSide } from './packed-side.js';
import { rotateHeads } from './rotate-heads.js';

export interface KvCacheOptions extends HeadSizes {
  readonly scheme: CacheScheme;
  /** Largest number of tokens in the cache. */
  readonly capacity: number;
}

const magic = 'qkv1';

/** Bytes of a cache of one block with this many tokens, as {@link KvCache.bytes} counts; it allocates nothing. */
export function cacheBytes(scheme: CacheScheme, sizes: HeadSizes, tokens: number): number {
  checkCacheScheme(scheme, sizes.headDim);
  const together = tokensTogether(scheme);
  const behind = Math.max(0, tokens - scheme.sinks - scheme.window);
  const packed = together * Math.floor(behind / together);
  const sides = [scheme.keys, scheme.values].map((side) => new PackedSide(side, sizes).bytes(packed));
  return sides.reduce((sum, bytes) => sum + bytes, 8 * (tokens - packed) * sizes.kvHeads * sizes.headDim);
}

/**
 * Keys and values of one block and one sequence; the interface has `[tokens, kvHeads * headDim]` in f32. Inside, the
 * first `sinks` tokens and at least the `window` newest ones are f32. All tokens between them are packed, each as soon
 * as its group is complete and outside the window. So appending one token at a time gives the same bits as one call for
 * all.
 */
export class KvCache {
  readonly options: KvCacheOptions;
  #keys: PackedSide;
  #values: PackedSide;
  #sinks: readonly [Float32Array, Float32Array] = [new Float32Array(0), new Float32Array(0)];
  #recent: readonly [Float32Array, Float32Array] = [new Float32Array(0), new Float32Array(0)];
  #packed = 0;
  #position = 0;
  #freed = false;

  /** @throws SchemeError when the scheme does not suit the heads */
  constructor(options: KvCacheOptions) {
    checkCacheScheme(options.scheme, options.headDim);
    this.options = options;
    this.#keys = new PackedSide(options.scheme.keys, options);
    this.#values = new PackedSide(options.scheme.values, options);
  }

  /** Position of the next token: the number of appended tokens, with evicted ones. */
  get position(): number {
    return this.#position;
  }

  /** Tokens in the cache. */
  get length(): number {
    return (this.#sinks[0].length + this.#recent[0].length) / this.#width + this.#packed;
  }

  /** Tokens that are packed. */
  get packed(): number {
    return this.#packed;
  }

  /** Bytes of the content: codes, f16 scales, and f32 tokens. */
  get bytes(): number {
    const plain = 8 * (this.#sinks[0].length + this.#recent[0].length);
    return plain + this.#keys.bytes(this.#packed) + this.#values.bytes(this.#packed);
  }

  get #width(): number {
    return this.options.kvHeads * this.options.headDim;
  }

  /**
   * @param position of the first of the tokens, when the caller knows it; it is checked
   * @throws ShapeError when the arrays are not tokens, the position is not the next one, or the capacity is exceeded;
   *   NumericError when a key or value is not finite. The cache then does not change.
   */
  append(keys: Float32Array, values: Float32Array, position = this.#position): void {
    this.#alive();
    const tokens = checkAppended(keys, values, position, {
      ...{ width: this.#width, length: this.length, capacity: this.options.capacity, position: this.#position },
      advice: 'evict some or make a larger one',
    });
    const { scheme, headDim } = this.options;
    const own = [scheme.rotate ? rotateHeads(keys, headDim) : keys, values] as const;
    const first = Math.min(tokens * this.#width, scheme.sinks * this.#width - this.#sinks[0].length);
    const both = <R>(make: (side: 0 | 1) => R) => [make(0), make(1)] as const;
    if (first > 0) this.#sinks = both((side) => joined(this.#sinks[side], own[side].subarray(0, first)));
    this.#recent = both((side) => joined(this.#recent[side], own[side].subarray(Math.max(0, first))));
    this.#position += tokens;
    this.#pack();
  }

  /** Packs the tokens outside the window, in whole groups. */
  #pack(): void {
    const together = tokensTogether(this.options.scheme);
    const ready = this.#recent[0].length / this.#width - this.options.scheme.window;
    const count = together * Math.floor(Math.max(0, ready) / together);
    if (count === 0) return;
    this.#keys.write(this.#packed, this.#recent[0], count);
    this.#values.write(this.#packed, this.#recent[1], count);
    this.#packed += count;
    const rest = count * this.#width;
    this.#recent = [this.#recent[0].slice(rest), this.#recent[1].slice(rest)];
  }

  /** All tokens, oldest first, as f32 `[length, kvHeads * headDim]`; keys are rotated if the scheme rotates. */
  read(): { readonly keys: Float32Array; readonly values: Float32Array } {
    this.#alive();
    const side = (index: 0 | 1, packed: PackedSide) => {
      const width = this.#width;
      const out = new Float32Array(this.length * width);
      out.set(this.#sinks[index]);
      let at = this.#sinks[index].length;
      for (let token = 0; token < this.#packed; token++, at += width) packed.read(token, out.subarray(at, at + width));
      out.set(this.#recent[index], at);
      return out;
    };
    return { keys: side(0, this.#keys), values: side(1, this.#values) };
  }

  /** Queries `[tokens, heads * headDim]` that match the keys: rotated if the scheme rotates. */
  queries(plain: Float32Array): Float32Array {
    const { scheme, headDim } = this.options;
    return scheme.rotate ? rotateHeads(plain, headDim) : plain;
  }

  /**
   * Drops the oldest packed tokens after the sinks.
   * @throws ShapeError when there are fewer, or they end within a group
   */
  evict(count: number): void {
    this.#alive();
    const together = tokensTogether(this.options.scheme);
    if (!Number.isInteger(count) || count < 0 || count > this.#packed || count % together !== 0)
      throw new ShapeError(
        `${count} tokens cannot be evicted: ${this.#packed} are packed, in groups of ${together} that go as a whole`,
      );
    this.#keys.evict(count, this.#packed);
    this.#values.evict(count, this.#packed);
    this.#packed -= count;
  }

  /** An independent copy of the cache, for a beam or a shared prefix. */
  fork(): KvCache {
    this.#alive();
    const made = new KvCache(this.options);
    made.#keys = this.#keys.copy();
    made.#values = this.#values.copy();
    made.#sinks = this.#sinks;
    made.#recent = this.#recent;
    made.#packed = this.#packed;
    made.#position = this.#position;
    return made;
  }

  /** Whether keys are rotated; then queries must be rotated too. */
  get rotates(): boolean {
    return this.options.scheme.rotate;
  }

  /** {@link attentionArgs}, or undefined if kernels do not support the scheme. */
  codes(): KvCacheContent | undefined {
    return knownToKernels(this.options.scheme, this.options.headDim) ? this.attentionArgs() : undefined;
  }

  /**
   * The arguments of a kernel for attention over packed codes that come from this cache.
   * @throws SchemeError if kernels do not support the scheme: floats and tables; use `read` then
   */
  attentionArgs(): KvCacheContent {
    this.#alive();
    const { scheme, kvHeads, headDim } = this.options;
    if (!knownToKernels(scheme, headDim))
      throw new SchemeError(
        `cache scheme ${scheme.name}: attention on codes takes integers of 2, 3, 4 and 8 bits in heads of a multiple of 16 channels, not ${scheme.keys.format.name} and ${scheme.values.format.name} with ${headDim} channels`,
      );
    const [keys, values] = [this.#keys.packed, this.#values.packed];
    const leading = this.#sinks[0].length / this.#width;
    const window = this.#recent[0].length / this.#width;
    const unpacked = new Float32Array(2 * (leading + window) * this.#width);
    let at = 0;
    for (const side of [0, 1] as const)
      for (let head = 0; head < kvHeads; head++)
        for (const tokens of [this.#sinks[side], this.#recent[side]])
          for (let from = head * headDim; from < tokens.length; from += this.#width, at += headDim)
            unpacked.set(tokens.subarray(from, from + headDim), at);
    const { capacity } = keys;
    return { kvHeads, headDim, capacity, packed: this.#packed, keys, values, unpacked, leading, window };
  }

  /** All content as bytes, little-endian, for {@link KvCache.read}. */
  serialise(): Uint8Array {
    this.#alive();
    const { scheme, kvHeads, headDim, capacity } = this.options;
    const header = JSON.stringify({
      ...{ scheme, kvHeads, headDim, capacity, packed: this.#packed, position: this.#position },
      ...{ sinks: this.#sinks[0].length / this.#width, recent: this.#recent[0].length / this.#width },
    });
    const text = new TextEncoder().encode(header);
    const length = new Uint8Array(Uint32Array.of(text.length).buffer);
    const floats = [...this.#sinks, ...this.#recent].map((array) => new Uint8Array(array.slice().buffer));
    const parts = [
      new TextEncoder().encode(magic),
      length,
      text,
      ...floats,
      ...this.#keys.save(this.#packed),
      ...this.#values.save(this.#packed),
    ];
    const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  /**
   * Reads a cache that {@link serialise} wrote.
   * @param scheme the scheme that it was written with
   * @throws FormatError when the bytes are of another kind or scheme, or truncated
   */
  static read(bytes: Uint8Array, scheme: CacheScheme): KvCache {
    let at = 0;
    const take = (count: number): Uint8Array => {
      if (at + count > bytes.length)
        throw new FormatError(`the cache ends at byte ${bytes.length}, ${at + count} were expected: it is truncated`);
      at += count;
      return bytes.slice(at - count, at);
    };
    if (new TextDecoder().decode(take(4)) !== magic)
      throw new FormatError(`the bytes do not begin with ${magic}: they are not a serialised cache`);
    const [size] = new Uint32Array(take(4).buffer);
    const header = JSON.parse(new TextDecoder().decode(take(size)));
    if (JSON.stringify(header.scheme) !== JSON.stringify(scheme))
      throw new FormatError(`the cache was written with scheme ${header.scheme.name}, not with this ${scheme.name}`);
    const { kvHeads, headDim, capacity } = header;
    const cache = new KvCache({ scheme, kvHeads, headDim, capacity });
    const floats = (tokens: number) => new Float32Array(take(4 * tokens * cache.#width).buffer);
    cache.#sinks = [floats(header.sinks), floats(header.sinks)];
    cache.#recent = [floats(header.recent), floats(header.recent)];
    cache.#keys.load(header.packed, take);
    cache.#values.load(header.packed, take);
    cache.#packed = header.packed;
    cache.#position = header.position;
    if (at !== bytes.length) throw new FormatError(`the cache has ${bytes.length - at} bytes after its end`);
    return cache;
  }

  /** Frees the tokens. Every later call is refused. */
  dispose(): void {
    this.#freed = true;
    this.#keys = new PackedSide(this.options.scheme.keys, this.options);
    this.#values = new PackedSide(this.options.scheme.values, this.options);
    this.#sinks = [new Float32Array(0), new Float32Array(0)];
    this.#recent = this.#sinks;
    this.#packed = 0;
  }

  #alive(): void {
    if (this.#freed) throw new QuantError('the cache is freed: it can be neither used nor forked');
  }
}

function knownToKernels({ keys, values }: CacheScheme, headDim: number): boolean {
  const known = ({ format }: CacheSide) => format.family === 'linear' && [2, 3, 4, 8].includes(format.bits);
  return known(keys) && known(values) && headDim % 16 === 0;
}

function joined(a: Float32Array, b: Float32Array): Float32Array {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
