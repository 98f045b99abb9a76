import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { readRotaryPositions } from '../rotary-positions.js';
import { describeGemma } from './gemma-like.js';
import { readLayerWindows } from './layer-windows.js';

/**
 * Gemma 3, alone or as the text part of a folder with a vision tower: norms on each head's queries and keys, and a
 * window in all layers except every sixth, whose rotary positions have another base. EmbeddingGemma is the same in both
 * directions.
 */
export const gemma3: Architecture = {
  name: 'gemma3',
  modelTypes: ['gemma3_text', 'gemma3'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json).textPart();
    // EmbeddingGemma: an encoder whose last hidden states are pooled.
    const encodes = config.boolean('use_bidirectional_attention', false);
    const patternKey = config.has('sliding_window_pattern') ? 'sliding_window_pattern' : '_sliding_window_pattern';
    const pattern = config.positiveInteger(patternKey, 6);
    const stated = config.positiveInteger('sliding_window', 4096);
    // A window in both directions: half of it on each side, including its last token.
    const size = encodes ? Math.floor(stated / 2) + 1 : stated;
    const { window, isSliding } = readLayerWindows(config, size, (layer) => (layer + 1) % pattern !== 0);
    const headDim = config.positiveInteger('head_dim', 256);
    const full = readRotaryPositions(config, headDim, { theta: 1e6, section: 'full_attention' });
    const sliding = config.has('rope_parameters')
      ? readRotaryPositions(config, headDim, { section: 'sliding_attention' })
      : readRotaryPositions(config.without('rope_scaling', 'rope_theta'), headDim, {
          theta: config.number('rope_local_base_freq', 10000),
        });
    return describeGemma(config, {
      architecture: 'gemma3',
      tensorNames,
      queryKeyNorm: 'head',
      window,
      rotary: (layer) => (isSliding(layer) ? sliding : full),
      caps: {},
      ...(encodes ? { causal: false, headless: true as const } : {}),
    });
  },
};
