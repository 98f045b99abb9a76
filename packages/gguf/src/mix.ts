import { type BlockFormat, SchemeError } from '@q/core';
import { q2_K, q4_K, q5_K } from './blocks/affine-super-block.js';
import { iq4_NL, iq4_XS } from './blocks/iq4.js';
import { mxfp4 } from './blocks/mxfp4.js';
import { q3_K } from './blocks/q3-k.js';
import { q6_K } from './blocks/q6-k.js';
import { q8_0 } from './blocks/q8-0.js';
import { tq1_0, tq2_0 } from './blocks/ternary-blocks.js';
import type { GgufHeader, GgufTensor } from './header.js';

/** Types that depend on a tensor's part of the model and its position, as in llama-quantize (llama-quant.cpp). */
export interface GgufMix {
  readonly name: string;
  /** The type of tensors without a rule. */
  readonly base: BlockFormat;
  /** `general.file_type`. */
  readonly fileType: number;
  /** The type of another tensor; undefined for the base. */
  choose(place: MixPlace): BlockFormat | undefined;
}

/** The input of the rules of a mix. */
export interface MixPlace {
  readonly part: 'value' | 'key' | 'attention output' | 'down' | 'embeddings' | 'other';
  /** Index within its part, in the order of the blocks, and the number of all. */
  readonly index: number;
  readonly count: number;
  readonly eightExperts: boolean;
  /** Four or more query heads share one head of keys and values. */
  readonly widelyGrouped: boolean;
  /** 80 blocks with fewer heads of keys and values than of queries, so these are small. */
  readonly grouped80: boolean;
  /** The weights of columns are known. */
  readonly weighted: boolean;
  /** One of several matrices in a tensor. */
  readonly stacked: boolean;
}

/** The first and the last eighth of a model, and every third in between. */
const deservesMore = ({ index, count }: MixPlace): boolean => {
  const eighth = Math.floor(count / 8);
  return index < eighth || index >= Math.floor((7 * count) / 8) || (index - eighth) % 3 === 2;
};
const firstShare = ({ index, count }: MixPlace, share: number): boolean => index < Math.floor(count / share);

type Choice = BlockFormat | undefined;

/** The rules of one mix: the type of each part, undefined for the base. */
interface Rules {
  value?(place: MixPlace): Choice;
  down?(place: MixPlace): Choice;
  readonly attentionOutput?: BlockFormat;
  /** The attention's output in a model of eight experts. */
  readonly eightExpertsOutput?: BlockFormat;
  readonly embeddings?: BlockFormat;
}

/** Rules that all mixes share are applied last and win. */
function mix(name: string, base: BlockFormat, fileType: number, rules: Rules): GgufMix {
  return {
    ...{ name, base, fileType },
    choose(place) {
      const { part, eightExperts, grouped80 } = place;
      if (part === 'embeddings') return rules.embeddings;
      if (part === 'attention output') return eightExperts ? rules.eightExpertsOutput : rules.attentionOutput;
      if (part === 'key') return eightExperts ? q8_0 : undefined;
      if (part === 'down') return rules.down?.(place);
      if (part === 'other') return undefined;
      if (eightExperts) return q8_0;
      const chosen = rules.value?.(place);
      return grouped80 && [q3_K, q4_K].includes(chosen ?? base) ? q5_K : chosen;
    },
  };
}

const sixBits = (place: MixPlace) => (deservesMore(place) ? q6_K : undefined);
const always = (format: BlockFormat) => () => format;

export const q2_K_S: GgufMix = mix('Q2_K_S', q2_K, 21, {
  value: ({ widelyGrouped }) => (widelyGrouped ? q4_K : undefined),
  down: (place) => (firstShare(place, 8) ? q4_K : undefined),
});
export const q2_K_M: GgufMix = mix('Q2_K', q2_K, 10, {
  value: ({ widelyGrouped }) => (widelyGrouped ? q4_K : q3_K),
  down: always(q3_K),
  ...{ attentionOutput: q3_K, eightExpertsOutput: q5_K },
});
export const q3_K_S: GgufMix = mix('Q3_K_S', q3_K, 11, { eightExpertsOutput: q5_K });
export const q3_K_M: GgufMix = mix('Q3_K_M', q3_K, 12, {
  value: ({ index }) => (index < 2 ? q5_K : q4_K),
  down: (place) => (firstShare(place, 16) ? q5_K : q4_K),
  ...{ attentionOutput: q4_K, eightExpertsOutput: q5_K },
});
export const q3_K_L: GgufMix = mix('Q3_K_L', q3_K, 13, {
  ...{ value: always(q5_K), down: always(q5_K), attentionOutput: q5_K },
});
/** Q5_K for the values of the first four blocks and the down projections of the first eighth. */
export const q4_K_S: GgufMix = mix('Q4_K_S', q4_K, 14, {
  value: ({ index }) => (index < 4 ? q5_K : undefined),
  down: (place) => (firstShare(place, 8) ? q5_K : undefined),
  eightExpertsOutput: q5_K,
});
/** Q6_K for values and down projections of half of the blocks. */
export const q4_K_M: GgufMix = mix('Q4_K_M', q4_K, 15, { value: sixBits, down: sixBits, eightExpertsOutput: q5_K });
export const q5_K_S: GgufMix = mix('Q5_K_S', q5_K, 16, {});
export const q5_K_M: GgufMix = mix('Q5_K_M', q5_K, 17, { value: sixBits, down: sixBits });

const sixteenLevels: Rules = {
  value: ({ widelyGrouped }) => (widelyGrouped ? q5_K : undefined),
  down: (place) => (!place.weighted && firstShare(place, 8) ? q5_K : undefined),
  eightExpertsOutput: q5_K,
};
export const iq4_NL_M: GgufMix = mix('IQ4_NL', iq4_NL, 25, sixteenLevels);
export const iq4_XS_M: GgufMix = mix('IQ4_XS', iq4_XS, 30, sixteenLevels);
export const tq1_0_M: GgufMix = mix('TQ1_0', tq1_0, 36, { embeddings: q4_K });
export const tq2_0_M: GgufMix = mix('TQ2_0', tq2_0, 37, { embeddings: q4_K });
/** MXFP4 for the experts only. */
export const mxfp4Moe: GgufMix = {
  ...{ name: 'MXFP4_MOE', base: q8_0, fileType: 38 },
  choose: ({ stacked }) => (stacked ? mxfp4 : undefined),
};

const parts: readonly (readonly [MixPlace['part'], RegExp])[] = [
  ['value', /attn_(?:qkv|kv_b|v)\.weight/],
  ['embeddings', /^(?:per_layer_)?token_embd\.weight$/],
  ['key', /attn_k\.weight/],
  ['attention output', /attn_output\.weight/],
  ['down', /ffn_down/],
];
const blockOf = (name: string): number => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);

/**
 * The positions of the quantized tensors that the rules of mixes know.
 * @throws SchemeError for Falcon, which has rules of its own, and for a model without a number of blocks
 */
export function mixPlaces(
  { metadata }: GgufHeader,
  quantized: readonly GgufTensor[],
  name: string,
  weighted = false,
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
  const keyHeads = count('attention.head_count_kv') ?? heads;
  const model = {
    weighted,
    eightExperts: experts === 8,
    grouped80: blocks === 80 && heads !== keyHeads,
    widelyGrouped: heads !== undefined && keyHeads !== undefined && keyHeads > 0 && Math.floor(heads / keyHeads) >= 4,
  };
  const stacked = ({ shape }: GgufTensor) => shape.length > 2 && shape[0] > 1;
  const places = new Map<string, MixPlace>();
  const ordered = [...quantized].sort((a, b) => blockOf(a.name) - blockOf(b.name) || (a.name < b.name ? -1 : 1));
  for (const [part, pattern] of parts) {
    const own = ordered.filter((tensor) => pattern.test(tensor.name));
    for (const [i, tensor] of own.entries()) {
      // Several experts of a block count once.
      const index = part === 'down' && experts > 1 ? blockOf(tensor.name) : i;
      const all = part === 'down' ? blocks : own.length;
      places.set(tensor.name, { part, index, count: all, ...model, stacked: stacked(tensor) });
    }
  }
  for (const tensor of ordered)
    if (!places.has(tensor.name))
      places.set(tensor.name, { part: 'other', index: 0, count: 1, ...model, stacked: stacked(tensor) });
  return places;
}
