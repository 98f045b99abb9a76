import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';
import { gatedExpertStacks, mixtureOfExperts } from './mixture-of-experts.js';

const names = { gate: 'w1', up: 'w3', down: 'w2' };
const intermediateSize = (config: ConfigReader) => config.positiveInteger('intermediate_size');

/** Mixtral: Mistral's attention, and in every layer `num_local_experts` MLPs; each token uses the best few. */
export const mixtral: Architecture = {
  name: 'mixtral',
  modelTypes: ['mixtral'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const window = config.has('sliding_window') ? config.positiveInteger('sliding_window') : undefined;
    const experts = config.positiveInteger('num_local_experts', 8);
    const perToken = config.positiveInteger('num_experts_per_tok', 2);
    if (perToken > experts) config.refuse('num_experts_per_tok', `there are ${experts} experts`);
    return describeLlamaLike(config, {
      architecture: 'mixtral',
      tensorNames,
      // transformers 5 calls it `mlp` in memory, and in files with stacked experts.
      names: { mlp: tensorNames?.has('model.layers.0.mlp.gate.weight') ? 'mlp' : 'block_sparse_moe' },
      queryKeyValueBias: false,
      outputBias: false,
      mlpBias: false,
      defaultKeyValueHeads: 8,
      defaultTheta: 1e6,
      defaultEpsilon: 1e-5,
      window: () => window,
      feedForward: (_layer, { prefix, hidden, activation }) =>
        mixtureOfExperts({
          prefix,
          hidden,
          intermediate: intermediateSize(config),
          activation,
          experts,
          perToken,
          normalize: true,
          names,
        }),
    });
  },
  stacks(json) {
    const config = new ConfigReader(json);
    return gatedExpertStacks(config, names, () => intermediateSize(config));
  },
};
