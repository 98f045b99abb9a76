import type { ModelConfig } from '../config.js';
import type { GgufArchitecture } from '../conversion.js';
import type { NameRules } from '../tensor-names.js';
import { u32 } from '../values.js';
import { decoderConfig, decoderKeys, decoderRules, decoderTensors } from './decoder.js';

const gateAndUp = 'layers.N.mlp.experts.E.gate_up_proj';

const rules: NameRules = {
  ...decoderRules,
  'layers.N.post_attention_layernorm': 'blk.N.post_attention_norm',
  'layers.N.self_attn.sinks': 'blk.N.attn_sinks',
  'layers.N.mlp.router': 'blk.N.ffn_gate_inp',
  // Even rows are the gate projection, odd rows the up projection.
  [gateAndUp]: [
    { to: 'blk.N.ffn_gate_exps', strided: { step: 2, first: 0 } },
    { to: 'blk.N.ffn_up_exps', strided: { step: 2, first: 1 } },
  ],
  'layers.N.mlp.experts.E.down_proj': 'blk.N.ffn_down_exps',
};

/** llama.cpp has these settings in its code, and no keys for them. */
function refuseOthers(config: ModelConfig): void {
  if (config.number('swiglu_limit', 7) !== 7) config.refuse('swiglu_limit', 'llama.cpp takes it as 7');
  if (!config.boolean('attention_bias', true)) config.refuse('attention_bias', 'llama.cpp needs the biases');
  if (config.strings('layer_types')?.some((type, layer) => (type === 'sliding_attention') !== (layer % 2 === 0)))
    config.refuse('layer_types', 'llama.cpp knows a sliding window in every second layer, from the first one on');
}

/** gpt-oss. Of rounded experts (MXFP4) the type `mxfp4_moe` keeps every value. */
export const gptOssGguf: GgufArchitecture = {
  name: 'gpt-oss',
  modelTypes: ['gpt_oss'],
  hyperparameters(config) {
    refuseOthers(config);
    return decoderKeys(config, 150000)
      .set('expert_count', u32(config.number('num_local_experts', 128)))
      .set('expert_used_count', u32(config.number('num_experts_per_tok', 4)))
      .set('expert_feed_forward_length', u32(config.number('intermediate_size')))
      .set('attention.sliding_window', u32(config.number('sliding_window')));
  },
  tensors: (config, source) => decoderTensors(config, source, { rules }),
  config: (file) => ({
    ...decoderConfig(file, 'gpt_oss'),
    num_local_experts: file.number('expert_count'),
    num_experts_per_tok: file.number('expert_used_count'),
    intermediate_size: file.number('expert_feed_forward_length'),
    sliding_window: file.number('attention.sliding_window'),
  }),
};
