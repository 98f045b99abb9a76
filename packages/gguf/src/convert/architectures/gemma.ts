import type { ModelConfig } from '../config.js';
import { ropeSettings } from '../config.js';
import type { ConversionSource, GgufArchitecture, ModelTensor } from '../conversion.js';
import type { FileSettings } from '../file-settings.js';
import type { NameRules } from '../tensor-names.js';
import { bool, f32, u32 } from '../values.js';
import { poolingTypes } from './bert.js';
import { decoderConfig, decoderKeys, decoderRules, decoderTensors } from './decoder.js';

const rules: NameRules = {
  ...decoderRules,
  'layers.N.post_attention_layernorm': 'blk.N.post_attention_norm',
  'layers.N.pre_feedforward_layernorm': 'blk.N.ffn_norm',
  'layers.N.post_feedforward_layernorm': 'blk.N.post_ffw_norm',
};

/** Gemma's norms multiply by 1 + w; the file contains 1 + w. */
const shifted = (of: NameRules): NameRules =>
  Object.fromEntries(
    Object.entries(of).map(([from, to]) => [
      from,
      typeof to === 'string' && to.endsWith('norm') ? { to, plus: 1 } : to,
    ]),
  );
const shiftedNorms = shifted(rules);

/** The head is the embeddings, for any config. */
const gemmaTensors = (config: ModelConfig, source: Pick<ConversionSource, 'name' | 'shapes'>): readonly ModelTensor[] =>
  decoderTensors(config, source, { rules: shiftedNorms, dropped: /^lm_head\./ });

/**
 * The keys that all of them have. The largest model of a generation divides scores by the root of the width per head;
 * llama.cpp recognizes it by the number of blocks.
 */
function gemmaConfig(file: FileSettings, modelType: string, largest: number): Record<string, unknown> {
  const config = decoderConfig(file, modelType);
  const perHead = (config.hidden_size as number) / (config.num_attention_heads as number);
  return {
    ...config,
    tie_word_embeddings: true,
    hidden_activation: 'gelu_pytorch_tanh',
    hidden_act: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: config.num_hidden_layers === largest ? perHead : config.head_dim,
  };
}

/** Gemma 1: norms only before each part. */
export const gemmaGguf: GgufArchitecture = {
  name: 'gemma',
  modelTypes: ['gemma'],
  hyperparameters: (config) => decoderKeys(config),
  tensors: (config, source) => decoderTensors(config, source, { rules: shifted(decoderRules), dropped: /^lm_head\./ }),
  config: (file) => gemmaConfig(file, 'gemma', Number.NaN),
  tokenizer: { addSpacePrefix: false },
};

export const gemma2Gguf: GgufArchitecture = {
  name: 'gemma2',
  modelTypes: ['gemma2'],
  hyperparameters: (config) =>
    decoderKeys(config)
      .set('attn_logit_softcapping', f32(config.number('attn_logit_softcapping', 50)))
      .set('final_logit_softcapping', f32(config.number('final_logit_softcapping', 30)))
      .set('attention.sliding_window', u32(config.number('sliding_window', 4096))),
  tensors: gemmaTensors,
  config: (file) => ({
    ...gemmaConfig(file, 'gemma2', 46),
    attn_logit_softcapping: file.number('attn_logit_softcapping', 50),
    final_logit_softcapping: file.number('final_logit_softcapping', 30),
    sliding_window: file.number('attention.sliding_window', 4096),
  }),
  tokenizer: { addSpacePrefix: false },
};

export const gemma3Gguf: GgufArchitecture = {
  name: 'gemma3',
  modelTypes: ['gemma3', 'gemma3_text'],
  hyperparameters(config) {
    if (config.has('attn_logit_softcapping'))
      config.refuse('attn_logit_softcapping', 'llama.cpp does not cap the attention of Gemma 3');
    const keys = decoderKeys(config, 1e6);
    keys.set('attention.sliding_window', u32(config.number('sliding_window', 4096)));
    const local = ropeSettings(config, 1e4, 'sliding_attention');
    keys.set('rope.freq_base_swa', f32(config.number('rope_local_base_freq', local.theta)));
    if (config.has('final_logit_softcapping'))
      keys.set('final_logit_softcapping', f32(config.number('final_logit_softcapping')));
    const types = config.strings('layer_types');
    if (types?.some((type, layer) => (type === 'full_attention') !== ((layer + 1) % 6 === 0)))
      config.refuse('layer_types', 'llama.cpp supports Gemma 3 only with every sixth layer global');
    return keys;
  },
  tensors: gemmaTensors,
  config(file) {
    const { rope_theta: theta, rope_scaling: scaling, ...config } = gemmaConfig(file, 'gemma3_text', 62);
    return {
      ...config,
      attn_logit_softcapping: null,
      final_logit_softcapping: file.has('final_logit_softcapping') ? file.number('final_logit_softcapping') : null,
      sliding_window: file.number('attention.sliding_window'),
      layer_types: Array.from({ length: file.number('block_count') }, (_, layer) =>
        (layer + 1) % 6 === 0 ? 'full_attention' : 'sliding_attention',
      ),
      rope_parameters: {
        full_attention: { rope_type: 'default', ...(scaling as object | undefined), rope_theta: theta },
        sliding_attention: { rope_type: 'default', rope_theta: file.number('rope.freq_base_swa', 10000) },
      },
    };
  },
  tokenizer: { addSpacePrefix: false },
};

/** EmbeddingGemma: Gemma 3 in both directions, with pooled states and two linear layers after the pooling. */
export const gemmaEmbeddingGguf: GgufArchitecture = {
  ...gemma3Gguf,
  name: 'gemma-embedding',
  modelTypes: ['gemma3_text'],
  accepts: (config) => config.boolean('use_bidirectional_attention', false),
  denseLayers: 2,
  hyperparameters(config, source) {
    const keys = new Map(gemma3Gguf.hyperparameters(config, source));
    keys.set('attention.causal', bool(false));
    keys.set('pooling_type', u32(poolingTypes[source.pooling ?? 'none']));
    for (const [index, { weight }] of (source.dense ?? []).entries()) {
      keys.set(`dense_${index + 2}_feat_in`, u32(weight.shape[1]));
      keys.set(`dense_${index + 2}_feat_out`, u32(weight.shape[0]));
    }
    return keys;
  },
  tensors: (config, source) => [
    ...gemmaTensors(config, source),
    ...(source.dense ?? []).map(({ weight }, index) => ({
      ...{ name: `dense_${index + 2}.weight`, shape: weight.shape, from: [], values: weight.data },
    })),
  ],
  config: (file) => ({ ...gemma3Gguf.config?.(file), use_bidirectional_attention: true }),
};
