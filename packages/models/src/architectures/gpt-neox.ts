import type { Architecture } from '@q/core';
import { ConfigReader } from '../config-reader.js';
import { readRotaryPositions } from '../rotary-positions.js';
import { plainMlp } from './feed-forward.js';
import { describeLlamaLike } from './llama-like.js';

/**
 * GPT-NeoX and Pythia: layer norms, one linear with query, key and value of each head in turn, a part of each head
 * rotated, attention and MLP in parallel (or one after the other).
 */
export const gptNeox: Architecture = {
  name: 'gpt_neox',
  modelTypes: ['gpt_neox'],
  describe(json, tensorNames) {
    const config = new ConfigReader(json);
    const bias = config.boolean('attention_bias', true);
    let shared: ReturnType<typeof readRotaryPositions> | undefined;
    return describeLlamaLike(config, {
      architecture: 'gpt_neox',
      tensorNames,
      names: {
        roots: ['gpt_neox.', ''],
        embedding: 'embed_in',
        finalNorm: 'final_layer_norm',
        head: 'embed_out',
        attention: 'attention',
        input: ['query_key_value'],
        inputByHead: true,
        output: 'dense',
      },
      queryKeyValueBias: bias,
      outputBias: bias,
      mlpBias: true,
      norm: 'layer',
      defaultEpsilon: 1e-5,
      activation: ['hidden_act', 'gelu'],
      parallel: config.boolean('use_parallel_residual', true),
      rotary: (_layer, headDim) =>
        (shared ??= readRotaryPositions(config, headDim, {
          theta: config.number('rotary_emb_base', 10000),
          part: config.number('rotary_pct', 0.25),
        })),
      window: () => undefined,
      feedForward: (_layer, sizes) =>
        plainMlp(`${sizes.prefix}.dense_h_to_4h`, `${sizes.prefix}.dense_4h_to_h`, {
          ...sizes,
          intermediate: config.positiveInteger('intermediate_size'),
        }),
    });
  },
};
