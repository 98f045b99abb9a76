import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeGemma } from './gemma-like.js';
import { readLayerWindows } from './layer-windows.js';

/** Gemma 2: a window in every other layer, from the first on; limits of the scores and of the logits. */
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
    // A cap that is null is none; one that is absent is the published models'.
    const caps = {
      ...('attn_logit_softcapping' in json ? {} : { scores: 50 }),
      ...('final_logit_softcapping' in json ? {} : { logits: 30 }),
    };
    return describeGemma(config, { architecture: 'gemma2', tensorNames, window, caps });
  },
};
