import { f16ToF32, f32ToF16, type NumberFormat, NumericError, type PackedKv } from '@q/core';
import type { CacheSide } from './cache-scheme.js';

export interface HeadSizes {
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Smallest positive f16. */
const smallestScale = 2 ** -24;

/**
 * Codes and scales of keys or values, in the order of {@link PackedKv}. Scales and smallest values are rounded to f16:
 * 16 or 32 bits a group.
 */
export class PackedSide {
  readonly #side: CacheSide;
  readonly #sizes: HeadSizes;
  readonly #group: number;
  #capacity = 0;
  #codes = new Uint8Array(0);
  #scales = new Float32Array(0);

  constructor(side: CacheSide, sizes: HeadSizes) {
    this.#side = side;
    this.#sizes = sizes;
    this.#group = side.size === 'head' ? sizes.headDim : side.size;
  }

  get #rowBytes(): number {
    return (this.#sizes.headDim * this.#side.format.bits) / 8;
  }

  /** Pairs of (scale, zero) of a head for this many tokens. */
  #pairs(tokens: number): number {
    const { headDim } = this.#sizes;
    return this.#side.along === 'channels'
      ? (tokens * headDim) / this.#group
      : Math.ceil(tokens / this.#group) * headDim;
  }

  /** Bytes of `tokens` tokens in a file, or in memory with scales in f16. */
  bytes(tokens: number): number {
    const perGroup = this.#side.format.family === 'linear' ? 4 : 2;
    return this.#sizes.kvHeads * (tokens * this.#rowBytes + perGroup * this.#pairs(tokens));
  }

  /** Codes and scales in the form that attention kernels read, for up to {@link capacity} tokens. */
  get packed(): PackedKv & { readonly capacity: number } {
    const { along, format } = this.#side;
    const bits = format.bits as PackedKv['bits'];
    return { bits, along, size: this.#group, codes: this.#codes, scales: this.#scales, capacity: this.#capacity };
  }

  /** Packs tokens `[first, first + count)` of `values` `[count, kvHeads * headDim]`; along tokens a whole group. */
  write(first: number, values: Float32Array, count: number): void {
    this.#reserve(first + count);
    const { kvHeads, headDim } = this.#sizes;
    const width = kvHeads * headDim;
    const { along } = this.#side;
    const [tokens, channels] = along === 'tokens' ? [this.#group, 1] : [1, this.#group];
    for (let head = 0; head < kvHeads; head++)
      for (let token = 0; token < count; token += tokens)
        for (let channel = 0; channel < headDim; channel += channels) {
          const places = Array.from({ length: tokens * channels }, (_, i) => [
            token + (along === 'tokens' ? i : 0),
            channel + (along === 'tokens' ? 0 : i),
          ]);
          const group = Float64Array.from(places, ([t, c]) => values[t * width + head * headDim + c]);
          const pair = this.#pairAt(head, first + token, channel);
          const { scale, zero, encode } = fitGroup(this.#side.format, group);
          this.#scales[2 * pair] = scale;
          this.#scales[2 * pair + 1] = zero;
          for (const [i, [t, c]] of places.entries()) this.#setCode(head, first + t, c, encode(group[i]));
        }
  }

  /** Writes token `token` as f32 to `to`, `[kvHeads * headDim]`. */
  read(token: number, to: Float32Array): void {
    const { kvHeads, headDim } = this.#sizes;
    const { format } = this.#side;
    for (let head = 0; head < kvHeads; head++)
      for (let channel = 0; channel < headDim; channel++) {
        const code = this.#codeAt(head, token, channel);
        const pair = this.#pairAt(head, token, channel);
        const value = format.family === 'linear' ? code - this.#scales[2 * pair + 1] : format.decode(code);
        to[head * headDim + channel] = value * this.#scales[2 * pair];
      }
  }

  /** Drops the first `count` of `held` tokens; along tokens whole groups. */
  evict(count: number, held: number): void {
    const { kvHeads } = this.#sizes;
    const row = this.#rowBytes;
    for (let head = 0; head < kvHeads; head++) {
      const at = head * this.#capacity * row;
      this.#codes.copyWithin(at, at + count * row, at + held * row);
      const pairs = 2 * head * this.#pairs(this.#capacity);
      this.#scales.copyWithin(pairs, pairs + 2 * this.#pairs(count), pairs + 2 * this.#pairs(held));
    }
  }

  copy(): PackedSide {
    const made = new PackedSide(this.#side, this.#sizes);
    made.#capacity = this.#capacity;
    made.#codes = this.#codes.slice();
    made.#scales = this.#scales.slice();
    return made;
  }

  /** Codes, then pairs of (scale, zero), of the first `tokens` tokens, head by head. */
  save(tokens: number): readonly Uint8Array[] {
    const parts: Uint8Array[] = [];
    for (let head = 0; head < this.#sizes.kvHeads; head++) {
      const at = head * this.#capacity * this.#rowBytes;
      parts.push(this.#codes.slice(at, at + tokens * this.#rowBytes));
      const pairs = 2 * head * this.#pairs(this.#capacity);
      parts.push(new Uint8Array(this.#scales.slice(pairs, pairs + 2 * this.#pairs(tokens)).buffer));
    }
    return parts;
  }

  /** Restores the output of {@link save}; `take` gives the next bytes. */
  load(tokens: number, take: (bytes: number) => Uint8Array): void {
    this.#reserve(tokens);
    for (let head = 0; head < this.#sizes.kvHeads; head++) {
      this.#codes.set(take(tokens * this.#rowBytes), head * this.#capacity * this.#rowBytes);
      const scales = take(8 * this.#pairs(tokens)).slice();
      this.#scales.set(new Float32Array(scales.buffer), 2 * head * this.#pairs(this.#capacity));
    }
  }

  #pairAt(head: number, token: number, channel: number): number {
    const { headDim } = this.#sizes;
    return this.#side.along === 'channels'
      ? (head * this.#capacity + token) * (headDim / this.#group) + Math.floor(channel / this.#group)
      : (head * Math.ceil(this.#capacity / this.#group) + Math.floor(token / this.#group)) * headDim + channel;
  }

  #codeAt(head: number, token: number, channel: number): number {
    const { bits } = this.#side.format;
    const bit = channel * bits;
    const at = (head * this.#capacity + token) * this.#rowBytes + (bit >> 3);
    const word = this.#codes[at] | ((this.#codes[at + 1] ?? 0) << 8);
    return (word >> (bit & 7)) & (2 ** bits - 1);
  }

  #setCode(head: number, token: number, channel: number, code: number): void {
    const { bits } = this.#side.format;
    const bit = channel * bits;
    const at = (head * this.#capacity + token) * this.#rowBytes + (bit >> 3);
    const mask = (2 ** bits - 1) << (bit & 7);
    const shifted = code << (bit & 7);
    this.#codes[at] = (this.#codes[at] & ~mask) | shifted;
    if (mask > 255) this.#codes[at + 1] = (this.#codes[at + 1] & ~(mask >> 8)) | (shifted >> 8);
  }

  /** Grows the arrays to this many tokens; existing tokens keep their index within their head. */
  #reserve(tokens: number): void {
    if (tokens <= this.#capacity) return;
    const { kvHeads } = this.#sizes;
    const before = this.#capacity;
    const after = Math.max(64, 2 * before, 64 * Math.ceil(tokens / 64));
    const codes = new Uint8Array(kvHeads * after * this.#rowBytes);
    const scales = new Float32Array(2 * kvHeads * this.#pairs(after));
    for (let head = 0; head < kvHeads; head++) {
      const row = before * this.#rowBytes;
      codes.set(this.#codes.subarray(head * row, (head + 1) * row), head * after * this.#rowBytes);
      const pairs = 2 * this.#pairs(before);
      scales.set(this.#scales.subarray(head * pairs, (head + 1) * pairs), 2 * head * this.#pairs(after));
    }
    this.#codes = codes;
    this.#scales = scales;
    this.#capacity = after;
  }
}

/** Scale and zero point of a group, and its codes: `value = (code - zero) * scale`, zero in units of codes. */
function fitGroup(format: NumberFormat, group: Float64Array) {
  if (format.family !== 'linear') {
    const largest = group.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const scale = storedScale(largest / Math.max(format.max, -format.min));
    return { scale, zero: 0, encode: (value: number) => format.encode(value / scale) };
  }
  const levels = 2 ** format.bits - 1;
  const [low, high] = group.reduce(([min, max], x) => [Math.min(min, x), Math.max(max, x)], [Infinity, -Infinity]);
  const min = f16ToF32(f32ToF16(low));
  const scale = storedScale((high - min) / levels);
  const zero = Math.fround(-min / scale);
  return {
    scale,
    zero,
    encode: (value: number) => Math.max(0, Math.min(levels, Math.round(value / scale + zero))),
  };
}

function storedScale(scale: number): number {
  const stored = Math.max(smallestScale, f16ToF32(f32ToF16(scale)));
  if (!Number.isFinite(stored))
    throw new NumericError(
      `a group of the cache needs scale ${scale}, which f16 cannot hold: its values are too large`,
    );
  return stored;
}
