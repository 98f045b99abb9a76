import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { describeLlamaLike } from './llama-like.js';

/** Qwen2 and 2.5: Llama with biases on q, k, v, and a window in the upper layers when `use_sliding_window` is set. */
export const qwen2: Architecture = {
  name: 'qwen2',
  modelTypes: ['qwen2'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    return describeLlamaLike(config, {
      architecture: 'qwen2',
      tensorNames,
      queryKeyValueBias: true,
      outputBias: false,
      mlpBias: false,
      defaultKeyValueHeads: 32,
      window: readWindows(config),
    });
  },
};

/**
 * Windows of the upper layers, if `use_sliding_window` is set.
 * @param absentFirst the first layer with a window, if the config does not say
 */
export function readWindows(config: ConfigReader, absentFirst = 28): (layer: number) => number | undefined {
  if (!config.boolean('use_sliding_window', false)) return () => undefined;
  const size = config.positiveInteger('sliding_window', 4096);
  const types = config.strings('layer_types');
  if (types) return (layer) => (types[layer] === 'sliding_attention' ? size : undefined);
  const first = config.number('max_window_layers', absentFirst);
  return (layer) => (layer >= first ? size : undefined);
}

/** Experts, and the layers that have them: every `decoder_sparse_step`-th one, except `mlp_only_layers`. */
export function readSparseLayers(
  config: ConfigReader,
  absent: { readonly experts: number; readonly perToken: number },
): { readonly experts: number; readonly perToken: number; isSparse(layer: number): boolean } {
  const experts = config.number('num_experts', absent.experts);
  if (!(Number.isInteger(experts) && experts >= 0)) config.refuse('num_experts', 'a whole number is needed');
  const perToken = config.positiveInteger('num_experts_per_tok', absent.perToken);
  if (experts > 0 && perToken > experts) config.refuse('num_experts_per_tok', `there are ${experts} experts`);
  const step = config.positiveInteger('decoder_sparse_step', 1);
  const dense = new Set(config.integers('mlp_only_layers') ?? []);
  return { experts, perToken, isSparse: (layer) => experts > 0 && !dense.has(layer) && (layer + 1) % step === 0 };
}
