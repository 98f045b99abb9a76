import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { readRotaryPositions } from '../rotary-positions.js';
import { describeLlamaLike } from './llama-like.js';

/**
 * StableLM: Llama with layer norms and a part of each head rotated; attention and MLP may read one norm in parallel.
 */
export const stablelm: Architecture = {
  name: 'stablelm',
  modelTypes: ['stablelm'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    config.only('qk_layernorm', [false], 'norms of single heads are not supported');
    const parallel = config.boolean('use_parallel_residual', false);
    const before = 'input_layernorm';
    let shared: ReturnType<typeof readRotaryPositions> | undefined;
    return describeLlamaLike(config, {
      architecture: 'stablelm',
      tensorNames,
      ...(parallel ? { names: { norms: { attention: { before }, feedForward: { before } } } } : {}),
      queryKeyValueBias: config.boolean('use_qkv_bias', false),
      outputBias: false,
      mlpBias: false,
      norm: 'layer',
      defaultEpsilon: 1e-5,
      parallel,
      rotary: (_layer, headDim) => (shared ??= readRotaryPositions(config, headDim, { part: 0.25 })),
      window: () => undefined,
    });
  },
};
