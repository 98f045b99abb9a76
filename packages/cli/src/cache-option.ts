import type { Checkpoint } from '@q/checkpoint';
import { type ModelDescription, SchemeError } from '@q/core';
import { cacheBytes, KvCache, parseCacheScheme, StaticCache, type StaticCacheOptions } from '@q/kv-cache';
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
 * The caches of `--cache NAME`: of a scheme, or of `static`, the scales that the folder has.
 * @throws SchemeError as {@link quantizedCache}, and when the folder has no static scales; FormatError when one of them
 *   is absent
 */
export async function cacheOf(name: string, model: ModelDescription, checkpoint: Checkpoint): Promise<QuantizedCache> {
  return name === 'static' ? staticCache(model, checkpoint) : quantizedCache(name, model);
}

async function staticCache(model: ModelDescription, { path, cache }: Checkpoint): Promise<QuantizedCache> {
  if (!cache)
    throw new SchemeError(
      `--cache static: ${path} has no static scales of a cache: quantize the model with --kv-cache, or name a scheme (int8, fp8)`,
    );
  const { scheme } = cache;
  const blocks: StaticCacheOptions[] = [];
  for (const { attention, index } of model.blocks) {
    if (!attention) throw noCache('static', index, model);
    const { kvHeads, headDim } = attention;
    blocks.push({ scheme, kvHeads, headDim, scales: await cache.scales(attention), capacity: model.maxPositions });
  }
  return {
    decoder: { cache: (block) => new StaticCache(blocks[block]) },
    bytes: (tokens) => blocks.reduce((sum, { kvHeads, headDim }) => sum + 2 * tokens * kvHeads * headDim, 0),
  };
}

const noCache = (name: string, block: number, { architecture }: ModelDescription) =>
  new SchemeError(
    `--cache ${name}: the attention of block ${block} of ${architecture} does not support a quantized cache`,
  );

/**
 * The caches of a scheme.
 * @throws SchemeError when no scheme has this name, it does not fit the heads, or a block's attention has no such cache
 */
export function quantizedCache(name: string, model: ModelDescription): QuantizedCache {
  const scheme = parseCacheScheme(name);
  const blocks = model.blocks.map(({ attention, index }) => {
    if (!attention) throw noCache(name, index, model);
    return { kvHeads: attention.kvHeads, headDim: attention.headDim };
  });
  const bytes = (tokens: number) => blocks.reduce((sum, sizes) => sum + cacheBytes(scheme, sizes, tokens), 0);
  bytes(1);
  return {
    decoder: { cache: (block) => new KvCache({ scheme, ...blocks[block], capacity: model.maxPositions }) },
    bytes,
  };
}
