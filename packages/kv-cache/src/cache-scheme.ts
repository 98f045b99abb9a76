import { e4m3, type NumberFormat, nf4, SchemeError, unsignedIntegers } from '@q/core';

/** The quantization of one side of a cache: keys or values. */
export interface CacheSide {
  /** Linear formats get a scale and a smallest value for each group, others a scale. */
  readonly format: NumberFormat;
  /** The values that share a scale: `size` channels of one token's head, or one channel of `size` tokens. */
  readonly along: 'channels' | 'tokens';
  /** Along channels it divides the number of channels of a head; `head` means all of them. */
  readonly size: number | 'head';
}

/** The quantization of a cache of keys and values. */
export interface CacheScheme {
  readonly name: string;
  readonly keys: CacheSide;
  readonly values: CacheSide;
  /** At least this many of the newest tokens stay in f32. */
  readonly window: number;
  /** This many of the first tokens stay in f32. */
  readonly sinks: number;
  /** Keys are rotated by a Hadamard matrix within each head; queries must be rotated too ({@link rotateHeads}). */
  readonly rotate: boolean;
}

const integers = (bits: number) => unsignedIntegers[bits - 2] as NumberFormat;

/** One scale for each token's head. */
const perToken = (name: string, format: NumberFormat): CacheScheme => {
  const side: CacheSide = { format, along: 'channels', size: 'head' };
  return { name, keys: side, values: side, window: 0, sinks: 0, rotate: false };
};

/**
 * Tokens at the start that stay in f32. Their keys are many times larger than others (attention sinks, arXiv
 * 2309.17453), and in a group of tokens they leave few levels to the rest. The perplexity of 1,024 tokens of Gemma 3
 * 270M with `kivi3,keys=128,values=head,rotate,window=32` rises by 12.7 % without them and by 3.6 % with them.
 */
const firstTokens = 4;

/**
 * KIVI (arXiv 2402.02750): keys per channel of 32 tokens, values per token of 32 channels, the newest 128 tokens kept.
 * The paper keeps no first tokens.
 */
const kivi = (name: string, bits: number): CacheScheme => ({
  name,
  keys: { format: integers(bits), along: 'tokens', size: 32 },
  values: { format: integers(bits), along: 'channels', size: 32 },
  window: 128,
  sinks: firstTokens,
  rotate: false,
});

/** Schemes by name. `int8` to `nf4` have one scale for each token's head. */
export const cacheSchemes: readonly CacheScheme[] = [
  ...[8, 4, 3, 2].map((bits) => perToken(`int${bits}`, integers(bits))),
  perToken('fp8', e4m3),
  perToken('nf4', nf4),
  kivi('kivi8', 8),
  kivi('kivi4', 4),
  kivi('kivi3', 3),
  kivi('kivi2', 2),
];

/**
 * A scheme by its name, with changed parts.
 * @throws SchemeError naming the known schemes
 */
export function cacheScheme(name: string, changes: Partial<Omit<CacheScheme, 'name'>> = {}): CacheScheme {
  const found = cacheSchemes.find((scheme) => scheme.name === name);
  if (!found)
    throw new SchemeError(
      `no cache scheme is called ${JSON.stringify(name)}: ${cacheSchemes.map((scheme) => scheme.name).join(', ')} are known`,
    );
  return { ...found, ...changes };
}

/** Tokens that are quantized together: those of a group along tokens, else one. */
export function tokensTogether({ keys, values }: CacheScheme): number {
  const sizes = [keys, values].filter(({ along }) => along === 'tokens').map(({ size }) => size as number);
  return Math.max(1, ...sizes);
}

/**
 * Checks a scheme for heads of a size.
 * @throws SchemeError naming the part that does not fit
 */
export function checkCacheScheme(scheme: CacheScheme, headDim: number): void {
  const { name, window, sinks, rotate } = scheme;
  for (const [what, { format, along, size }] of Object.entries({ keys: scheme.keys, values: scheme.values })) {
    const label = `cache scheme ${name}: ${what}`;
    if (format.bits > 8 || (headDim * format.bits) % 8 !== 0)
      throw new SchemeError(`${label} of ${format.name} do not fill bytes with ${headDim} channels; at most 8 bits`);
    if (along === 'channels' ? size !== 'head' && headDim % size !== 0 : !(Number.isInteger(size) && Number(size) > 0))
      throw new SchemeError(`${label} in groups of ${size} ${along} do not fit heads of ${headDim} channels`);
    if (along === 'tokens' && size !== tokensTogether(scheme))
      throw new SchemeError(`${label} are in groups of ${size} tokens, the other side of ${tokensTogether(scheme)}`);
  }
  for (const [what, count] of Object.entries({ window, sinks }))
    if (!(Number.isInteger(count) && count >= 0))
      throw new SchemeError(`cache scheme ${name}: ${what} is ${count}, a whole number of at least 0 was expected`);
  if (rotate && (headDim & (headDim - 1)) !== 0)
    throw new SchemeError(
      `cache scheme ${name}: heads of ${headDim} channels cannot be rotated: a power of 2 is needed`,
    );
}
