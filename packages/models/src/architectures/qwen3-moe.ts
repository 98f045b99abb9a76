import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';
import { gatedExpertStacks, mixtureOfExperts } from './mixture-of-experts.js';
import { readSparseLayers, readWindows } from './qwen2.js';

const names = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' };
const intermediateSize = (config: ConfigReader) => config.positiveInteger('moe_intermediate_size', 768);

/** Qwen3-MoE: Qwen3's attention; experts without a shared one in the sparse layers. */
export const qwen3Moe: Architecture = {
  name: 'qwen3_moe',
  modelTypes: ['qwen3_moe'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const { experts, perToken, isSparse } = readSparseLayers(config, { experts: 128, perToken: 8 });
    const bias = config.boolean('attention_bias', false);
    return describeLlamaLike(config, {
      architecture: 'qwen3_moe',
      tensorNames,
      queryKeyValueBias: bias,
      outputBias: bias,
      mlpBias: false,
      defaultKeyValueHeads: 4,
      queryKeyNorm: 'head',
      // Applies to all layers if it is on: `max_window_layers` is not used.
      window: readWindows(config, 0),
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
            })
          : undefined,
    });
  },
  stacks(json) {
    const config = new ConfigReader(json);
    return gatedExpertStacks(config, names, () => intermediateSize(config));
  },
};
