import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';

/** Mistral: Llama without biases, with a sliding window in every layer where `sliding_window` is a number. */
export const mistral: Architecture = {
  name: 'mistral',
  modelTypes: ['mistral'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    // Absent is not null: transformers takes 4096 for a key that is not there, and no window for null.
    const window = json['sliding_window'] === null ? undefined : config.positiveInteger('sliding_window', 4096);
    return describeLlamaLike(config, {
      architecture: 'mistral',
      tensorNames,
      queryKeyValueBias: false,
      outputBias: false,
      mlpBias: false,
      defaultKeyValueHeads: 8,
      window: () => window,
    });
  },
};
