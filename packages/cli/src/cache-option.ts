import { type ModelDescription, SchemeError } from '@q/core';
import { cacheBytes, KvCache, parseCacheScheme } from '@q/kv-cache';
import type { DecoderOptions } from '@q/models';

export interface QuantizedCache {
  readonly decoder: DecoderOptions;
  /** Bytes of all blocks, for a sequence of this many tokens. */
  bytes(tokens: number): number;
}

/**
 * Bytes of a model's cache for a sequence of this many tokens, with 16 bits a value; undefined if a block has no such
 * cache.
 */
export function plainCacheBytes({ blocks }: ModelDescription, tokens: number): number | undefined {
  let sum = 0;
  for (const { attention } of blocks) {
    if (!attention) return undefined;
    sum += 4 * tokens * attention.kvHeads * attention.headDim;
  }
  return sum;
}

/**
 * The caches of `--cache NAME`.
 * @throws SchemeError when no scheme has this name, it does not fit the heads, or a block's attention has no such cache
 */
export function quantizedCache(name: string, model: ModelDescription): QuantizedCache {
  const scheme = parseCacheScheme(name);
  const blocks = model.blocks.map(({ attention, index }) => {
    if (!attention)
      throw new SchemeError(
        `--cache ${name}: the attention of block ${index} of ${model.architecture} does not support a quantized cache`,
      );
    return { kvHeads: attention.kvHeads, headDim: attention.headDim };
  });
  const bytes = (tokens: number) => blocks.reduce((sum, sizes) => sum + cacheBytes(scheme, sizes, tokens), 0);
  bytes(1);
  return {
    decoder: { cache: (block) => new KvCache({ scheme, ...blocks[block], capacity: model.maxPositions }) },
    bytes,
  };
}
