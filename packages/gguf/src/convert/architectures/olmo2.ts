import type { GgufArchitecture } from '../conversion.js';
import { decoderConfig, decoderKeys, decoderRules, decoderTensors } from './decoder.js';

/** OLMo 2: norms after attention and MLP, and on the queries and keys of all heads together. */
export const olmo2Gguf: GgufArchitecture = {
  name: 'olmo2',
  modelTypes: ['olmo2'],
  hyperparameters: (config) => decoderKeys(config),
  tensors: (config, source) =>
    decoderTensors(config, source, {
      rules: {
        ...decoderRules,
        'layers.N.post_attention_layernorm': 'blk.N.post_attention_norm',
        'layers.N.post_feedforward_layernorm': 'blk.N.post_ffw_norm',
      },
    }),
  config: (file) => decoderConfig(file, 'olmo2'),
};
