import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';

/** OLMo 2: norms after each part instead of before it, and on the queries and keys of all heads together. */
export const olmo2: Architecture = {
  name: 'olmo2',
  modelTypes: ['olmo2'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const bias = config.boolean('attention_bias', false);
    return describeLlamaLike(config, {
      architecture: 'olmo2',
      tensorNames,
      names: {
        norms: {
          attention: { after: 'post_attention_layernorm' },
          feedForward: { after: 'post_feedforward_layernorm' },
        },
      },
      queryKeyValueBias: bias,
      outputBias: bias,
      mlpBias: false,
      defaultEpsilon: 1e-5,
      queryKeyNorm: 'whole',
      window: () => undefined,
    });
  },
};
