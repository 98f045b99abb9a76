import type { ModelConfig } from '../config.js';
import type { GgufArchitecture } from '../conversion.js';
import { interleaveHalves } from '../row-orders.js';
import type { NameRules } from '../tensor-names.js';
import { f32, u32 } from '../values.js';
import {
  decoderConfig,
  decoderKeys,
  decoderRules,
  decoderTensors,
  headsOf,
  keyHeadsOf,
  ropeFactors,
} from './decoder.js';

/** llama.cpp rotates adjacent values in the models of this family, so rows of queries and keys are reordered. */
const rotatedPairs = (config: ModelConfig): NameRules => ({
  ...decoderRules,
  'layers.N.self_attn.q_proj': { to: 'blk.N.attn_q', order: (rows) => interleaveHalves(rows, headsOf(config)) },
  'layers.N.self_attn.k_proj': { to: 'blk.N.attn_k', order: (rows) => interleaveHalves(rows, keyHeadsOf(config)) },
});

/** Mixtral: all experts of a block in one tensor. */
const mixtralRules: NameRules = {
  'layers.N.block_sparse_moe.gate': 'blk.N.ffn_gate_inp',
  'layers.N.block_sparse_moe.experts.E.w1': 'blk.N.ffn_gate_exps',
  'layers.N.block_sparse_moe.experts.E.w2': 'blk.N.ffn_down_exps',
  'layers.N.block_sparse_moe.experts.E.w3': 'blk.N.ffn_up_exps',
};

/** Llama 1 to 3, Mistral and Mixtral. */
export const llamaGguf: GgufArchitecture = {
  name: 'llama',
  modelTypes: ['llama', 'mistral', 'ministral', 'mixtral'],
  hyperparameters(config) {
    const keys = decoderKeys(config, config.string('model_type', '') === 'mixtral' ? 1e6 : undefined);
    if (config.has('num_local_experts')) {
      keys.set('expert_count', u32(config.number('num_local_experts')));
      keys.set('expert_used_count', u32(config.number('num_experts_per_tok', 2)));
    }
    return keys;
  },
  tensors: (config, source) => [
    ...decoderTensors(config, source, { rules: { ...rotatedPairs(config), ...mixtralRules } }),
    ...ropeFactors(config),
  ],
  config: (file) => ({
    ...decoderConfig(file, file.number('expert_count', 0) > 0 ? 'mixtral' : 'llama'),
    ...(file.number('expert_count', 0) > 0
      ? { num_local_experts: file.number('expert_count'), num_experts_per_tok: file.number('expert_used_count') }
      : {}),
  }),
};

/** SmolLM3: Llama in which every fourth layer has no positions; the runtime does this by itself. */
export const smollm3Gguf: GgufArchitecture = {
  name: 'smollm3',
  modelTypes: ['smollm3'],
  hyperparameters(config) {
    const layers = config.numbers('no_rope_layers');
    if (layers?.some((rotates, index) => rotates !== ((index + 1) % 4 === 0 ? 0 : 1)))
      config.refuse('no_rope_layers', 'llama.cpp supports only every fourth layer without positions');
    return decoderKeys(config, 2e6);
  },
  tensors: (config, source) => decoderTensors(config, source, { rules: rotatedPairs(config) }),
  config: (file) => ({ ...decoderConfig(file, 'smollm3'), no_rope_layer_interval: 4 }),
};

/** Granite: Llama with multipliers. */
export const graniteGguf: GgufArchitecture = {
  name: 'granite',
  modelTypes: ['granite'],
  hyperparameters: (config) =>
    decoderKeys(config)
      .set('attention.scale', f32(config.number('attention_multiplier', 1)))
      .set('embedding_scale', f32(config.number('embedding_multiplier', 1)))
      .set('residual_scale', f32(config.number('residual_multiplier', 1)))
      .set('logit_scale', f32(config.number('logits_scaling', 1))),
  tensors: (config, source) => decoderTensors(config, source, { rules: rotatedPairs(config) }),
  config: (file) => ({
    ...decoderConfig(file, 'granite'),
    attention_multiplier: file.number('attention.scale', 1),
    embedding_multiplier: file.number('embedding_scale', 1),
    residual_multiplier: file.number('residual_scale', 1),
    logits_scaling: file.number('logit_scale', 1),
  }),
};
