import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { readRotaryPositions } from '../rotary-positions.js';
import type { AttentionOptions } from './attention.js';
import { readLayerWindows } from './layer-windows.js';
import { describeLlamaLike } from './llama-like.js';

/**
 * Mistral, Ministral and Ministral 3, alone or as the text part of a folder with a vision tower (`mistral3`): Llama
 * without biases, with a sliding window in every layer, in some (`layer_types`) or in none.
 */
export const mistral: Architecture = {
  name: 'mistral',
  modelTypes: ['mistral', 'ministral', 'ministral3', 'mistral3'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json).textPart();
    config.only('model_type', ['mistral', 'ministral', 'ministral3'], 'a text part of this kind is not supported');
    const type = config.string('model_type', 'mistral');
    const size = config.has('sliding_window')
      ? config.positiveInteger('sliding_window')
      : windowWithoutKey(config, type);
    // Mistral's own code has no types of layers.
    const byLayer = type === 'ministral';
    const queryFactors = readQueryFactors(config);
    let shared: ReturnType<typeof readRotaryPositions> | undefined;
    return describeLlamaLike(config, {
      architecture: 'mistral',
      tensorNames,
      queryKeyValueBias: false,
      outputBias: false,
      mlpBias: false,
      defaultKeyValueHeads: 8,
      rotary: (_layer, headDim) => (shared ??= readRotaryPositions(config, headDim)),
      window: byLayer ? readLayerWindows(config, size, () => true).window : () => size,
      ...(queryFactors ? { attention: { queryFactors } } : {}),
    });
  },
};

/** transformers uses 4096 when the key is absent; null means no window. Ministral 3 has none in both cases. */
const windowWithoutKey = (config: ConfigReader, type: string): number | undefined =>
  type === 'ministral3' || config.keys().includes('sliding_window') ? undefined : 4096;

/**
 * Ministral 3: queries grow with the logarithm of the number of times that the trained positions fit before theirs (as
 * in Llama 4).
 */
function readQueryFactors(config: ConfigReader): AttentionOptions['queryFactors'] | undefined {
  const rope = config.object('rope_parameters');
  if (!rope.has('llama_4_scaling_beta')) return undefined;
  const beta = rope.number('llama_4_scaling_beta');
  const trained = rope.positiveInteger('original_max_position_embeddings');
  return (start, length) =>
    start + length <= trained
      ? undefined
      : Float32Array.from({ length }, (_, i) => 1 + beta * Math.log(1 + Math.floor((start + i) / trained)));
}
