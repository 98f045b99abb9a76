import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeGemma } from './gemma-like.js';
import { readLayerWindows } from './layer-windows.js';

/** Gemma 2: a window in every other layer, beginning with the first; limits of the scores and of the logits. */
export const gemma2: Architecture = {
  name: 'gemma2',
  modelTypes: ['gemma2'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    config.only('use_bidirectional_attention', [false], 'attention to later tokens is not supported');
    const { window } = readLayerWindows(
      config,
      config.positiveInteger('sliding_window', 4096),
      (layer) => layer % 2 === 0,
    );
    // A cap of null means none; an absent cap has the value of the published models.
    const caps = {
      ...('attn_logit_softcapping' in json ? {} : { scores: 50 }),
      ...('final_logit_softcapping' in json ? {} : { logits: 30 }),
    };
    return describeGemma(config, { architecture: 'gemma2', tensorNames, window, caps });
  },
};
