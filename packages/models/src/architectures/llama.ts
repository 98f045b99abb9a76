import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';

/** Llama 1 to 3 and models of the same form. */
export const llama: Architecture = {
  name: 'llama',
  modelTypes: ['llama'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const attentionBias = config.boolean('attention_bias', false);
    return describeLlamaLike(config, {
      architecture: 'llama',
      tensorNames,
      queryKeyValueBias: attentionBias,
      outputBias: attentionBias,
      mlpBias: config.boolean('mlp_bias', false),
      window: () => undefined,
    });
  },
};
