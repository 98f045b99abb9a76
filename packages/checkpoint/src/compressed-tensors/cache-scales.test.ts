import {
  type AttentionDescription,
  bf16Scale,
  f16Scale,
  type Scheme,
  staticCacheSchemes,
  type Tensor,
  tensor,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { compressedTensorsInt8Layout } from '../compressed-tensors-int8/layout.js';
import { fp8Layout } from '../fp8/layout.js';
import { gptqLayout } from '../gptq/index.js';
import type { CacheScaleLayout } from '../layout.js';
import { readerOf } from '../testing/reader-of.js';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { compressedTensorsLayout } from './layout.js';

const attention = (value: string): AttentionDescription => ({
  ...{ heads: 2, kvHeads: 1, headDim: 4, output: 'model.layers.3.self_attn.o_proj' },
  value: { module: `model.layers.3.self_attn.${value}` },
});
const module = 'model.layers.3.self_attn';
const record = { method: 'rtn', options: {} };
const { fp8, int8 } = staticCacheSchemes;

describe.each([compressedTensorsLayout(), compressedTensorsInt8Layout(), fp8Layout()])('the $name layout', (layout) => {
  const { encode, plan, module: moduleOf } = layout.cacheScales as CacheScaleLayout;
  const config = (cache?: Scheme) => layout.config([], [], { ...record, ...(cache ? { cache } : {}) }).config;

  // compressed-tensors 0.19 writes [1] in the dtype of the attention's weights.
  it.each([
    ['F32', fp8, tensor('f32', [1], Float32Array.of(0.5)), tensor('f32', [1], Float32Array.of(3))],
    [
      'BF16',
      { ...fp8, scaleStorage: bf16Scale },
      tensor('bf16', [1], Uint16Array.of(0x3f00)),
      tensor('bf16', [1], Uint16Array.of(0x4040)),
    ],
    [
      'F16',
      { ...int8, scaleStorage: f16Scale },
      tensor('f16', [1], Uint16Array.of(0x3800)),
      tensor('f16', [1], Uint16Array.of(0x4200)),
    ],
  ] as const)('stores k_scale and v_scale of an attention in %s, and reads them', async (dtype, scheme, key, value) => {
    const tensors = new Map<string, Tensor>([
      [`${module}.k_scale`, key],
      [`${module}.v_scale`, value],
    ]);
    expect(plan(module, scheme)).toEqual([...tensors.keys()].map((name) => ({ name, dtype, shape: [1] })));
    expect(encode(module, scheme, { key: 0.5, value: 3 })).toEqual(tensors);
    const { cache } = readerOf(layout, config(scheme));
    expect(cache?.scheme.format).toBe(scheme.format);
    expect(cache?.tensors(attention('v_proj'))).toEqual([...tensors.keys()]);
    expect(await cache?.read(attention('qkv_proj'), tensorLookup(tensors))).toEqual({ key: 0.5, value: 3 });
    tensors.set(`${module}.v_scale`, tensor('f32', [1], Float32Array.of(0)));
    await expect(cache?.read(attention('v_proj'), tensorLookup(tensors))).rejects.toThrow(
      /v_scale: is 0; a scale above 0/,
    );
    tensors.delete(`${module}.v_scale`);
    await expect(cache?.read(attention('v_proj'), tensorLookup(tensors))).rejects.toThrow(/v_scale: is absent/);
  });

  it('names the scheme as QuantizationArgs', () => {
    const args = { num_bits: 8, symmetric: true, strategy: 'tensor', dynamic: false };
    expect(config(fp8).kv_cache_scheme).toEqual({ ...args, type: 'float' });
    expect(config(int8).kv_cache_scheme).toEqual({ ...args, type: 'int' });
    expect(config().kv_cache_scheme).toBeNull();
  });

  it('finds no scales in other attentions, and in folders of other schemes', () => {
    expect(moduleOf(attention('v_proj'))).toBe(module);
    expect(moduleOf(attention('c_attn'))).toBeUndefined();
    const cacheOf = (kv_cache_scheme: unknown) => readerOf(layout, { ...config(), kv_cache_scheme }).cache;
    expect(cacheOf({ num_bits: 8, type: 'float', strategy: 'tensor' })?.scheme.format).toBe(fp8.format);
    for (const other of [null, undefined, { num_bits: 8, type: 'float', strategy: 'attn_head' }, { dynamic: true }])
      expect(cacheOf(other)).toBeUndefined();
  });
});

it('is not a matter of other layouts', () => {
  expect(gptqLayout().cacheScales).toBeUndefined();
});
