import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';

/** Qwen2 and 2.5: Llama with biases on q, k, v, and a window in the upper layers when `use_sliding_window` is set. */
export const qwen2: Architecture = {
  name: 'qwen2',
  modelTypes: ['qwen2'],
  describe(json) {
    const config = new ConfigReader(json);
    return describeLlamaLike(config, {
      architecture: 'qwen2',
      queryKeyValueBias: true,
      outputBias: false,
      mlpBias: false,
      defaultKeyValueHeads: 32,
      window: readWindows(config),
    });
  },
};

/** Windows of the upper layers, where `use_sliding_window` is set. */
export function readWindows(config: ConfigReader): (layer: number) => number | undefined {
  if (!config.boolean('use_sliding_window', false)) return () => undefined;
  const size = config.positiveInteger('sliding_window', 4096);
  const types = config.strings('layer_types');
  if (types) return (layer) => (types[layer] === 'sliding_attention' ? size : undefined);
  const first = config.number('max_window_layers', 28);
  return (layer) => (layer >= first ? size : undefined);
}
