import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { readRotaryPositions } from '../rotary-positions.js';
import { readLayerWindows } from './layer-windows.js';
import { describeLlamaLike } from './llama-like.js';

/** SmolLM3: Llama in which every fourth layer has no positions. */
export const smollm3: Architecture = {
  name: 'smollm3',
  modelTypes: ['smollm3'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const bias = config.boolean('attention_bias', false);
    const interval = config.positiveInteger('no_rope_layer_interval', 4);
    const flags = config.integers('no_rope_layers');
    const layers = config.positiveInteger('num_hidden_layers');
    if (flags && flags.length < layers) config.refuse('no_rope_layers', `one for each of ${layers} layers is needed`);
    // A 1 means that the layer has positions, although the key's name suggests the opposite.
    const hasPositions = (layer: number) => (flags ? flags[layer] !== 0 : (layer + 1) % interval !== 0);
    const size =
      config.boolean('use_sliding_window', false) && config.has('sliding_window')
        ? config.positiveInteger('sliding_window')
        : undefined;
    let shared: ReturnType<typeof readRotaryPositions> | undefined;
    return describeLlamaLike(config, {
      architecture: 'smollm3',
      tensorNames,
      queryKeyValueBias: bias,
      outputBias: bias,
      mlpBias: config.boolean('mlp_bias', false),
      defaultKeyValueHeads: 4,
      defaultTied: true,
      rotary(layer, headDim) {
        shared ??= readRotaryPositions(config, headDim, { theta: 2e6 });
        return hasPositions(layer) ? shared : undefined;
      },
      window: readLayerWindows(config, size, (layer) => !hasPositions(layer)).window,
    });
  },
};
