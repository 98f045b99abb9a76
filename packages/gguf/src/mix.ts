import { type BlockFormat, SchemeError } from '@q/core';
import { q4_K, q5_K } from './blocks/affine-super-block.js';
import { q6_K } from './blocks/q6-k.js';
import { q8_0 } from './blocks/q8-0.js';
import type { GgufHeader, GgufTensor } from './header.js';

/** Types that differ by a tensor's part in the model and its place, as llama-quantize mixes them (formats.md 6.10). */
export interface GgufMix {
  readonly name: string;
  /** What tensors become that no rule names. */
  readonly base: BlockFormat;
  /** `general.file_type`. */
  readonly fileType: number;
  /** What another tensor becomes; nothing where it is the base. */
  choose(place: MixPlace): BlockFormat | undefined;
}

/** What the rules of a mix look at. */
export interface MixPlace {
  readonly part: 'value' | 'key' | 'attention output' | 'down';
  /** The how many-th of its part, in the order of the blocks, and how many there are. */
  readonly index: number;
  readonly count: number;
  readonly eightExperts: boolean;
  /** 80 blocks with fewer heads of keys and values than of queries: these are small. */
  readonly grouped80: boolean;
}

/** The first and the last eighth of a model, and every third in between. */
const deservesMore = ({ index, count }: MixPlace): boolean => {
  const eighth = Math.floor(count / 8);
  return index < eighth || index >= Math.floor((7 * count) / 8) || (index - eighth) % 3 === 2;
};

/** Rules that all mixes share come last: they win. */
function mix(
  name: string,
  base: BlockFormat,
  fileType: number,
  more: (place: MixPlace) => BlockFormat | undefined,
): GgufMix {
  return {
    ...{ name, base, fileType },
    choose(place) {
      const { part, eightExperts, grouped80 } = place;
      if (eightExperts && (part === 'value' || part === 'key')) return q8_0;
      if (part === 'attention output') return eightExperts && base === q4_K ? q5_K : undefined;
      if (part === 'key') return undefined;
      const chosen = more(place);
      return part === 'value' && grouped80 && (chosen ?? base) === q4_K ? q5_K : chosen;
    },
  };
}

const sixBits = (place: MixPlace) => (deservesMore(place) ? q6_K : undefined);

/** Q6_K for values and down projections of half of the blocks. */
export const q4_K_M: GgufMix = mix('Q4_K_M', q4_K, 15, sixBits);
export const q5_K_M: GgufMix = mix('Q5_K_M', q5_K, 17, sixBits);
/** Q5_K for the values of the first four blocks and the down projections of the first eighth. */
export const q4_K_S: GgufMix = mix('Q4_K_S', q4_K, 14, ({ part, index, count }) =>
  index < (part === 'value' ? 4 : Math.floor(count / 8)) ? q5_K : undefined,
);
export const q5_K_S: GgufMix = mix('Q5_K_S', q5_K, 16, () => undefined);

const parts: readonly (readonly [MixPlace['part'], RegExp])[] = [
  ['value', /attn_(?:qkv|kv_b|v)\.weight/],
  ['key', /attn_k\.weight/],
  ['attention output', /attn_output\.weight/],
  ['down', /ffn_down/],
];
const blockOf = (name: string): number => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);

/**
 * The places of the tensors that the rules of mixes know, out of those that are quantized.
 * @throws SchemeError for Falcon, which has rules of its own, and for a model without a count of blocks
 */
export function mixPlaces(
  { metadata }: GgufHeader,
  quantized: readonly GgufTensor[],
  name: string,
): ReadonlyMap<string, MixPlace> {
  const architecture = metadata.get('general.architecture')?.value;
  const count = (key: string) => {
    const value = metadata.get(`${architecture}.${key}`)?.value;
    // Some models list a number for each block; the largest one is the model's.
    return Array.isArray(value) ? Math.max(...value.map(Number)) : value === undefined ? undefined : Number(value);
  };
  const blocks = count('block_count');
  if (architecture === 'falcon') throw new SchemeError(`${name}: the mixes for Falcon are not known: name one type`);
  if (blocks === undefined)
    throw new SchemeError(`${name}: metadata lack ${architecture}.block_count, which a mix needs: name one type`);
  const experts = count('expert_count') ?? 0;
  const heads = count('attention.head_count');
  const grouped80 = blocks === 80 && heads !== (count('attention.head_count_kv') ?? heads);
  const places = new Map<string, MixPlace>();
  const ordered = [...quantized].sort((a, b) => blockOf(a.name) - blockOf(b.name) || (a.name < b.name ? -1 : 1));
  for (const [part, pattern] of parts) {
    const own = ordered.filter((tensor) => pattern.test(tensor.name));
    for (const [i, tensor] of own.entries()) {
      // Several experts of a block count once.
      const index = part === 'down' && experts > 1 ? blockOf(tensor.name) : i;
      const all = part === 'down' ? blocks : own.length;
      places.set(tensor.name, { part, index, count: all, eightExperts: experts === 8, grouped80 });
    }
  }
  return places;
}
