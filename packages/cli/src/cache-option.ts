import { type ModelDescription, SchemeError } from '@q/core';
import { cacheBytes, KvCache, parseCacheScheme } from '@q/kv-cache';
import type { DecoderOptions } from '@q/models';

export interface QuantizedCache {
  readonly decoder: DecoderOptions;
  /** Bytes of all layers, for a sequence of this many tokens. */
  bytes(tokens: number): number;
}

/**
 * Bytes of a model's cache for a sequence of this many tokens, with 16 bits a value; undefined if a layer has no such
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
 * @throws SchemeError when no scheme has this name, it does not fit the heads, or a layer's attention has no such cache
 */
export function quantizedCache(name: string, model: ModelDescription): QuantizedCache {
  const scheme = parseCacheScheme(name);
  const layers = model.blocks.map(({ attention, index }) => {
    if (!attention)
      throw new SchemeError(
        `--cache ${name}: the attention of layer ${index} of ${model.architecture} does not support a quantized cache`,
      );
    return { kvHeads: attention.kvHeads, headDim: attention.headDim };
  });
  const bytes = (tokens: number) => layers.reduce((sum, sizes) => sum + cacheBytes(scheme, sizes, tokens), 0);
  bytes(1);
  return {
    decoder: { cache: (layer) => new KvCache({ scheme, ...layers[layer], capacity: model.maxPositions }) },
    bytes,
  };
}
