import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';

/** Granite: Llama with factors on embeddings, scores, outputs that are added to the residual stream, and logits. */
export const granite: Architecture = {
  name: 'granite',
  modelTypes: ['granite'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const bias = config.boolean('attention_bias', false);
    const logitDivisor = config.number('logits_scaling', 1);
    if (logitDivisor === 0) config.refuse('logits_scaling', 'logits are divided by it');
    return describeLlamaLike(config, {
      architecture: 'granite',
      tensorNames,
      queryKeyValueBias: bias,
      outputBias: bias,
      mlpBias: config.boolean('mlp_bias', false),
      embeddingFactor: config.number('embedding_multiplier', 1),
      residualFactor: config.number('residual_multiplier', 1),
      logitFactor: 1 / logitDivisor,
      attention: { scale: config.number('attention_multiplier', 1) },
      window: () => undefined,
    });
  },
};
