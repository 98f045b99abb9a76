import { type ModelConfig, ropeSettings } from '../config.js';
import type { GgufArchitecture } from '../conversion.js';
import { nameTensors } from '../tensor-names.js';
import { bool, f32, text, u32 } from '../values.js';
import { poolingTypes } from './bert.js';
import { headsOf } from './decoder.js';
import { usualSizes } from './usual-sizes.js';

/** Distance between the layers that see all tokens, of which the first layer is one. */
function globalEvery(config: ModelConfig): number {
  const types = config.strings('layer_types');
  if (!types) return config.number('global_attn_every_n_layers', 3);
  const second = types.indexOf('full_attention', 1);
  const every = second < 0 ? types.length : second;
  if (types.some((type, layer) => (type === 'full_attention') !== (layer % every === 0)))
    config.refuse(
      'layer_types',
      'llama.cpp supports ModernBERT only with global layers at equal distances, beginning with the first',
    );
  return every;
}

/** Base of the rotary frequencies of a kind of layer, in the form of transformers 5 or 4. */
function thetaOf(config: ModelConfig, layers: string, key: string, absent: number): number {
  const { type, theta, scaling } = ropeSettings(config, config.number(key, absent), layers);
  if (type !== 'default') scaling.refuse('rope_type', 'llama.cpp does not scale the positions of ModernBERT');
  return theta;
}

const heads = /^(?:head|decoder|classifier)\./;

/** ModernBERT: rotary positions, windows in most layers, gate and up in one matrix. */
export const modernBertGguf: GgufArchitecture = {
  name: 'modern-bert',
  modelTypes: ['modernbert'],
  heads,
  hyperparameters(config, { pooling = 'none' }) {
    for (const key of ['norm_bias', 'attention_bias', 'mlp_bias'])
      if (config.boolean(key, false)) config.refuse(key, 'llama.cpp supports ModernBERT only without biases');
    const activation = config.string('hidden_activation', 'gelu');
    if (activation !== 'gelu') config.refuse('hidden_activation', 'llama.cpp uses gelu for ModernBERT');
    return new Map([
      ['block_count', u32(config.number('num_hidden_layers', 22))],
      ['context_length', u32(config.number('max_position_embeddings', 8192))],
      ['embedding_length', u32(config.number('hidden_size', 768))],
      ['feed_forward_length', u32(config.number('intermediate_size', 1152))],
      ['attention.head_count', u32(headsOf(config))],
      ['attention.layer_norm_epsilon', f32(config.number('norm_eps', 1e-5))],
      ['attention.causal', bool(false)],
      ['attention.sliding_window', u32(config.number('local_attention', 128))],
      ['attention.sliding_window_pattern', u32(globalEvery(config))],
      ['pooling_type', u32(poolingTypes[pooling])],
      ['rope.freq_base', f32(thetaOf(config, 'full_attention', 'global_rope_theta', 160000))],
      ['rope.freq_base_swa', f32(thetaOf(config, 'sliding_attention', 'local_rope_theta', 10000))],
      ['rope.scaling.type', text('none')],
      ['vocab_size', u32(config.number('vocab_size', 50368))],
    ]);
  },
  tensors: (_, source) =>
    nameTensors(source, {
      prefix: /^model\./,
      dropped: heads,
      rules: {
        'embeddings.tok_embeddings': 'token_embd',
        'embeddings.norm': 'token_embd_norm',
        final_norm: 'output_norm',
        'layers.N.attn_norm': 'blk.N.attn_norm',
        'layers.N.attn.Wqkv': 'blk.N.attn_qkv',
        'layers.N.attn.Wo': 'blk.N.attn_output',
        'layers.N.mlp_norm': 'blk.N.ffn_norm',
        'layers.N.mlp.Wi': 'blk.N.ffn_up',
        'layers.N.mlp.Wo': 'blk.N.ffn_down',
      },
    }),
  config: (file) => ({
    ...{ model_type: 'modernbert', hidden_activation: 'gelu', ...usualSizes(file) },
    norm_eps: file.number('attention.layer_norm_epsilon'),
    local_attention: file.number('attention.sliding_window'),
    global_attn_every_n_layers: file.number('attention.sliding_window_pattern', 3),
    global_rope_theta: file.number('rope.freq_base', 160000),
    local_rope_theta: file.number('rope.freq_base_swa', 10000),
  }),
};
