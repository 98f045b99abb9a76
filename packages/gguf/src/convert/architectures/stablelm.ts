import { ropeSettings } from '../config.js';
import type { GgufArchitecture, ModelTensor } from '../conversion.js';
import { bool, f32, u32 } from '../values.js';
import { decoderTensors, headSizeOf, headsOf, keyHeadsOf } from './decoder.js';
import { ropeSettingsShare } from './partial-rotary.js';
import { usualSizes } from './usual-sizes.js';

/**
 * StableLM: layer norms, a part of each head rotated. If attention and MLP read one norm in parallel, the file has no
 * second norm, and the runtime recognizes these models by that.
 */
export const stableLmGguf: GgufArchitecture = {
  name: 'stablelm',
  modelTypes: ['stablelm'],
  hyperparameters(config) {
    const { theta, share } = ropeSettingsShare(config, 'partial_rotary_factor', 0.25);
    const { type, scaling } = ropeSettings(config);
    if (type !== 'default') scaling.refuse('rope_type', 'llama.cpp does not scale the positions of StableLM');
    if (config.boolean('qk_layernorm', false))
      config.refuse('qk_layernorm', 'norms of single heads are not written for StableLM');
    return new Map([
      ['block_count', u32(config.number('num_hidden_layers'))],
      ['context_length', u32(config.number('max_position_embeddings'))],
      ['embedding_length', u32(config.number('hidden_size'))],
      ['feed_forward_length', u32(config.number('intermediate_size'))],
      ['attention.head_count', u32(headsOf(config))],
      ['attention.head_count_kv', u32(keyHeadsOf(config))],
      ['attention.layer_norm_epsilon', f32(config.number('layer_norm_eps', 1e-5))],
      ['rope.dimension_count', u32(Math.floor(share * headSizeOf(config)))],
      ['rope.freq_base', f32(theta)],
      ['use_parallel_residual', bool(config.boolean('use_parallel_residual', false))],
    ]);
  },
  tensors(config, source) {
    const named = decoderTensors(config, source);
    const embeddings = named.find(({ name }) => name === 'token_embd.weight');
    // llama.cpp needs a head, also if it equals the embeddings.
    const tied = embeddings && !named.some(({ name }) => name === 'output.weight');
    return tied ? [...named, { ...embeddings, name: 'output.weight' } satisfies ModelTensor] : named;
  },
  config(file) {
    const sizes = usualSizes(file);
    const { hidden_size: hidden, num_attention_heads: heads } = sizes;
    return {
      ...{ model_type: 'stablelm', hidden_act: 'silu', ...sizes },
      num_key_value_heads: file.number('attention.head_count_kv', heads),
      layer_norm_eps: file.number('attention.layer_norm_epsilon'),
      rope_theta: file.number('rope.freq_base', 10000),
      partial_rotary_factor: file.number('rope.dimension_count') / (hidden / heads),
      use_qkv_bias: file.shape('blk.0.attn_q.bias') !== undefined,
      use_parallel_residual: file.shape('blk.0.ffn_norm.weight') === undefined,
      tie_word_embeddings: false,
    };
  },
};
