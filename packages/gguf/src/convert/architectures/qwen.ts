import type { GgufValue } from '../../metadata.js';
import type { ModelConfig } from '../config.js';
import type { GgufArchitecture } from '../conversion.js';
import type { FileSettings } from '../file-settings.js';
import type { NameRules } from '../tensor-names.js';
import { u32 } from '../values.js';
import { decoderConfig, decoderKeys, decoderRules, decoderTensors } from './decoder.js';

/** Qwen 2 and 2.5. */
export const qwen2Gguf: GgufArchitecture = {
  name: 'qwen2',
  modelTypes: ['qwen2'],
  hyperparameters: (config) => decoderKeys(config),
  tensors: (config, source) => decoderTensors(config, source),
  config: (file) => decoderConfig(file, 'qwen2'),
};

/** Qwen 3: norms on queries and keys. */
export const qwen3Gguf: GgufArchitecture = {
  ...qwen2Gguf,
  name: 'qwen3',
  modelTypes: ['qwen3'],
  config: (file) => decoderConfig(file, 'qwen3'),
};

const expertRules: NameRules = {
  ...decoderRules,
  'layers.N.mlp.gate': 'blk.N.ffn_gate_inp',
  'layers.N.mlp.experts.E.gate_proj': 'blk.N.ffn_gate_exps',
  'layers.N.mlp.experts.E.up_proj': 'blk.N.ffn_up_exps',
  'layers.N.mlp.experts.E.down_proj': 'blk.N.ffn_down_exps',
  'layers.N.mlp.shared_expert_gate': 'blk.N.ffn_gate_inp_shexp',
  'layers.N.mlp.shared_expert.gate_proj': 'blk.N.ffn_gate_shexp',
  'layers.N.mlp.shared_expert.up_proj': 'blk.N.ffn_up_shexp',
  'layers.N.mlp.shared_expert.down_proj': 'blk.N.ffn_down_shexp',
};

/**
 * The runtime treats every layer as a mixture. Whether it divides by the sum of the weights of the chosen experts is
 * fixed there too.
 */
function mixtureKeys(config: ModelConfig, normalized: boolean): Map<string, GgufValue> {
  if (config.number('decoder_sparse_step', 1) !== 1 || (config.numbers('mlp_only_layers')?.length ?? 0) > 0)
    config.refuse('mlp_only_layers', 'llama.cpp supports only models whose layers are all mixtures');
  if (config.boolean('norm_topk_prob', normalized) !== normalized)
    config.refuse('norm_topk_prob', `llama.cpp takes it as ${normalized} for this architecture`);
  return decoderKeys(config)
    .set('expert_count', u32(config.number(['num_experts', 'num_local_experts'])))
    .set('expert_used_count', u32(config.number('num_experts_per_tok')))
    .set('expert_feed_forward_length', u32(config.number('moe_intermediate_size')));
}

/** The inverse of {@link mixtureKeys}. */
const mixtureConfig = (file: FileSettings, modelType: string, normalized: boolean) => ({
  ...decoderConfig(file, modelType),
  num_experts: file.number('expert_count'),
  num_experts_per_tok: file.number('expert_used_count'),
  moe_intermediate_size: file.number('expert_feed_forward_length'),
  norm_topk_prob: normalized,
});

export const qwen2MoeGguf: GgufArchitecture = {
  name: 'qwen2moe',
  modelTypes: ['qwen2_moe'],
  hyperparameters: (config) =>
    mixtureKeys(config, false).set(
      'expert_shared_feed_forward_length',
      u32(config.number('shared_expert_intermediate_size')),
    ),
  tensors: (config, source) =>
    decoderTensors(config, source, { rules: expertRules }).map((tensor) =>
      // The gate of the shared expert is a vector there.
      tensor.name.endsWith('ffn_gate_inp_shexp.weight') ? { ...tensor, shape: tensor.shape.slice(-1) } : tensor,
    ),
  config: (file) => ({
    ...mixtureConfig(file, 'qwen2_moe', false),
    qkv_bias: file.shape('blk.0.attn_q.bias') !== undefined,
    shared_expert_intermediate_size: file.number('expert_shared_feed_forward_length'),
  }),
};

export const qwen3MoeGguf: GgufArchitecture = {
  name: 'qwen3moe',
  modelTypes: ['qwen3_moe'],
  hyperparameters: (config) => mixtureKeys(config, true),
  tensors: (config, source) => decoderTensors(config, source, { rules: expertRules }),
  config: (file) => mixtureConfig(file, 'qwen3_moe', true),
};
