import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';
import { mixtureOfExperts, refuseStackedExperts } from './mixture-of-experts.js';
import { readWindows } from './qwen2.js';

/**
 * Qwen1.5-MoE and Qwen2-MoE: Qwen2's attention; sparse layers (every `decoder_sparse_step`-th, but for
 * `mlp_only_layers`) have experts and one shared expert behind a sigmoid gate, the others a plain MLP.
 */
export const qwen2Moe: Architecture = {
  name: 'qwen2_moe',
  modelTypes: ['qwen2_moe'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    refuseStackedExperts(tensorNames);
    const experts = config.number('num_experts', 60);
    if (!(Number.isInteger(experts) && experts >= 0)) config.refuse('num_experts', 'a whole number is needed');
    const perToken = config.positiveInteger('num_experts_per_tok', 4);
    if (experts > 0 && perToken > experts) config.refuse('num_experts_per_tok', `there are ${experts} experts`);
    const step = config.positiveInteger('decoder_sparse_step', 1);
    const dense = new Set(config.integers('mlp_only_layers') ?? []);
    const isSparse = (layer: number) => experts > 0 && !dense.has(layer) && (layer + 1) % step === 0;
    return describeLlamaLike(config, {
      architecture: 'qwen2_moe',
      queryKeyValueBias: config.boolean('qkv_bias', true),
      outputBias: false,
      mlpBias: false,
      defaultKeyValueHeads: 16,
      window: readWindows(config),
      feedForward: (layer, { hidden, activation }) =>
        isSparse(layer)
          ? mixtureOfExperts({
              prefix: `model.layers.${layer}.mlp`,
              hidden,
              intermediate: config.positiveInteger('moe_intermediate_size', 1408),
              activation,
              experts,
              perToken,
              normalize: config.boolean('norm_topk_prob', false),
              names: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
              shared: { intermediate: config.positiveInteger('shared_expert_intermediate_size', 5632) },
            })
          : undefined,
    });
  },
};
