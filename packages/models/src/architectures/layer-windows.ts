import type { ConfigReader } from '../config-reader.js';

/** The layers with a sliding window, by `layer_types` or, if the config has none, by a pattern. */
export interface LayerWindows {
  /** Tokens, or undefined in a layer without a window. */
  window(layer: number): number | undefined;
  isSliding(layer: number): boolean;
}

/** @param absent whether a layer has a window if `layer_types` does not say */
export function readLayerWindows(
  config: ConfigReader,
  size: number | undefined,
  absent: (layer: number) => boolean,
): LayerWindows {
  const types = config.strings('layer_types');
  const known = ['sliding_attention', 'full_attention'];
  const odd = types?.find((type) => !known.includes(type));
  if (odd !== undefined) config.refuse('layer_types', `known are ${known.join(' and ')}, not ${odd}`);
  const layers = config.positiveInteger('num_hidden_layers');
  if (types && types.length < layers) config.refuse('layer_types', `one for each of ${layers} layers is needed`);
  const isSliding = (layer: number) =>
    size !== undefined && (types ? types[layer] === 'sliding_attention' : absent(layer));
  return { isSliding, window: (layer) => (isSliding(layer) ? size : undefined) };
}
