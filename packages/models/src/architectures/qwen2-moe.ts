import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';
import { gatedExpertStacks, mixtureOfExperts } from './mixture-of-experts.js';
import { readSparseLayers, readWindows } from './qwen2.js';

const names = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' };
const intermediateSize = (config: ConfigReader) => config.positiveInteger('moe_intermediate_size', 1408);

/**
 * Qwen1.5-MoE and Qwen2-MoE: Qwen2's attention. Sparse layers (every `decoder_sparse_step`-th, except
 * `mlp_only_layers`) have experts and one shared expert with a sigmoid gate; the others have a plain MLP.
 */
export const qwen2Moe: Architecture = {
  name: 'qwen2_moe',
  modelTypes: ['qwen2_moe'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const { experts, perToken, isSparse } = readSparseLayers(config, { experts: 60, perToken: 4 });
    return describeLlamaLike(config, {
      architecture: 'qwen2_moe',
      tensorNames,
      queryKeyValueBias: config.boolean('qkv_bias', true),
      outputBias: false,
      mlpBias: false,
      defaultKeyValueHeads: 16,
      window: readWindows(config),
      feedForward: (layer, { prefix, hidden, activation }) =>
        isSparse(layer)
          ? mixtureOfExperts({
              prefix,
              hidden,
              intermediate: intermediateSize(config),
              activation,
              experts,
              perToken,
              normalize: config.boolean('norm_topk_prob', false),
              names,
              shared: { intermediate: config.positiveInteger('shared_expert_intermediate_size', 5632) },
            })
          : undefined,
    });
  },
  stacks(json) {
    const config = new ConfigReader(json);
    return gatedExpertStacks(config, names, () => intermediateSize(config));
  },
};
