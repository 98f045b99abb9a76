import {
  type Checkpoint,
  compressedTensorsLayout,
  gptqLayout,
  openCheckpoint,
  type QuantizedLayout,
} from '@q/checkpoint';
import { staticCacheSchemes, type Tensor, type Tuner, tensor } from '@q/core';
import { describeModel } from '@q/models';
import { expect, it } from 'vitest';
import { writeSmallLlama } from '../testing/small-llama.js';
import { workbench } from '../testing/workbench.js';
import { cacheNotes, planCache } from './static-cache.js';

const at = workbench();
const layout = compressedTensorsLayout();
const recipe = (own: QuantizedLayout = layout, tuner?: Tuner) => ({
  ...{ layout: own, rules: [], seed: 0, kvCache: staticCacheSchemes.fp8 },
  ...(tuner ? { tuner } : {}),
});

async function opened<R>(use: (checkpoint: Checkpoint) => R, more?: ReadonlyMap<string, Tensor>): Promise<R> {
  await writeSmallLlama(at.folder, undefined, more);
  const checkpoint = await openCheckpoint(at.folder, [layout]);
  try {
    return use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

it('gives each attention scales of the dtype of its weights, and nothing to a recipe without them', async () => {
  await opened((checkpoint) => {
    const cache = planCache(checkpoint, recipe());
    expect(cache?.modules).toEqual(['model.layers.0.self_attn']);
    expect(cache?.scheme.scaleStorage.name).toBe('f32');
    expect(planCache(checkpoint, { ...recipe(), kvCache: undefined })).toBeUndefined();
    const notesOf = (config: object) =>
      cache ? cacheNotes({ ...checkpoint, config: { ...config } }, recipe(), cache).join() : '';
    expect(notesOf({ num_key_value_heads: 2 })).toMatch(/^vLLM reads the scales of the cache[^,]*$/);
    expect(notesOf({})).toMatch(/config.json has no num_key_value_heads/);
  });
});

it('refuses layouts, models and methods that do not go with them, by name', async () => {
  await opened((checkpoint) => {
    const refused = (...own: Parameters<typeof recipe>) => expect(() => planCache(checkpoint, recipe(...own)));
    refused(gptqLayout()).toThrow(/e4m3 scales of the cache: the gptq layout stores no scales of a cache/);
    refused(layout, { name: 'qaft' } as Tuner).toThrow(/qaft changes keys and values after they were calibrated/);
    const small = { vocab_size: 16, hidden_size: 32, num_attention_heads: 2, num_hidden_layers: 1 };
    const other = (config: Record<string, unknown>) => {
      const model = describeModel({ ...small, ...config });
      return expect(() => planCache({ ...checkpoint, model }, recipe(), model));
    };
    other({
      ...{ model_type: 'bert', intermediate_size: 64, type_vocab_size: 2 },
      max_position_embeddings: 16,
    }).toThrow(/bert is an encoder, which gives hidden states alone, so nothing keeps a cache/);
    other({ model_type: 'gpt2', n_embd: 32, n_head: 2, n_layer: 1, n_positions: 16 }).toThrow(
      /look for no scales in the attention of .*h\.0 \(gpt2\)/,
    );
  });
  const scale = new Map([['model.layers.0.self_attn.k_scale', tensor('f32', [1], Float32Array.of(1))]]);
  await opened((checkpoint) => {
    expect(() => planCache(checkpoint, recipe())).toThrow(/has a tensor model.layers.0.self_attn.k_scale already/);
  }, scale);
});
