import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeGemma } from './gemma-like.js';

/** Gemma: Llama with gains 1 + weight, scaled embeddings and a separate head size. */
export const gemma: Architecture = {
  name: 'gemma',
  modelTypes: ['gemma'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    config.only('use_bidirectional_attention', [false], 'attention to later tokens is not supported');
    const headDim = config.positiveInteger('head_dim', 256);
    return describeGemma(config, {
      architecture: 'gemma',
      tensorNames,
      window: () => undefined,
      caps: {},
      scale: 1 / Math.sqrt(headDim),
      normsBehind: false,
    });
  },
};
