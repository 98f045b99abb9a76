import { type AttentionDescription, FormatError, type Scheme, staticCacheSchemes } from '@q/core';
import type { CacheScaleLayout, CacheScaleReader } from '../layout.js';
import { readScales } from '../stored-values.js';
import { quantizationArgs, type ReadArgs } from './config.js';
import { type StoredScaleType, storedAs } from './stored-scales.js';

/** Sides of a cache, and the last part of the names of their scales (`KVCacheScaleType` of compressed-tensors). */
const sides = { key: 'k_scale', value: 'v_scale' } as const;

/**
 * Names that compressed-tensors looks for in an attention (`is_cached_attention_module`), and vLLM in its files. An
 * attention with other linears (GPT-2's `c_attn`) has no scales.
 */
const linearNames = new Set(['v_proj', 'qkv_proj']);

const storageOf = ({ scaleStorage }: Scheme) => storedAs(scaleStorage) as StoredScaleType;

/** `model.layers.0.self_attn` of the linear that gives its values. */
function attentionModule({ value }: AttentionDescription): string | undefined {
  const dot = value.module.lastIndexOf('.');
  return linearNames.has(value.module.slice(dot + 1)) ? value.module.slice(0, dot) : undefined;
}

/**
 * `kv_cache_scheme` of compressed-tensors, with `k_scale` and `v_scale` `[1]` for each attention
 * (docs/reference/file-formats.md#scales-of-a-cache-of-compressed-tensors).
 */
export const compressedCacheScales: CacheScaleLayout = {
  module: attentionModule,
  plan: (module, scheme) =>
    Object.values(sides).map((name) => ({ name: `${module}.${name}`, dtype: storageOf(scheme).dtype, shape: [1] })),
  encode: (module, scheme, scales) =>
    new Map(
      (['key', 'value'] as const).map((side) => [
        `${module}.${sides[side]}`,
        storageOf(scheme).encode(Float32Array.of(scales[side]), [1]),
      ]),
    ),
  note: ({ format }) =>
    format.family === 'float'
      ? 'vLLM reads the scales of the cache and then keeps keys and values in FP8; transformers 5.17 calculates with them too; 5.24 leaves them unread'
      : 'vLLM has no int8 cache with these scales: it keeps keys and values in FP8 for every folder with scales of the cache. Use --kv-cache fp8 for vLLM',
};

/**
 * The reader of a folder's static scales; undefined when its settings name none, or another scheme than those with one
 * scale for a side.
 */
export function cacheScaleReader(config: Readonly<Record<string, unknown>>): CacheScaleReader | undefined {
  const stated = config.kv_cache_scheme as ReadArgs | null | undefined;
  if (!stated) return undefined;
  const { num_bits = 8, type = 'int', symmetric = true, strategy = 'tensor', dynamic = false } = stated;
  const found = JSON.stringify({ num_bits, type, symmetric, strategy, dynamic });
  const scheme = Object.values(staticCacheSchemes).find((each) => JSON.stringify(quantizationArgs(each)) === found);
  if (!scheme) return undefined;
  return {
    scheme,
    tensors: (attention) => {
      const module = attentionModule(attention);
      return module === undefined ? [] : Object.values(sides).map((name) => `${module}.${name}`);
    },
    async read(attention, tensors) {
      const module = attentionModule(attention) ?? attention.value.module;
      const read = async (name: string) => {
        const { values } = await readScales(tensors, `${module}.${name}`, [[1], []]);
        const [scale] = values;
        if (scale <= 0) throw new FormatError(`${module}.${name}: is ${scale}; a scale above 0 was expected`);
        return scale;
      };
      return { key: await read(sides.key), value: await read(sides.value) };
    },
  };
}
