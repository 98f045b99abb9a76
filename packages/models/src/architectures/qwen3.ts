import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';
import { readWindows } from './qwen2.js';

/** Qwen3: Llama with a norm on each head's queries and keys, and heads of 128 for any hidden size. */
export const qwen3: Architecture = {
  name: 'qwen3',
  modelTypes: ['qwen3'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const bias = config.boolean('attention_bias', false);
    return describeLlamaLike(config, {
      architecture: 'qwen3',
      tensorNames,
      queryKeyValueBias: bias,
      outputBias: bias,
      mlpBias: false,
      defaultKeyValueHeads: 32,
      defaultHeadDim: 128,
      queryKeyNorm: 'head',
      window: readWindows(config),
    });
  },
};
