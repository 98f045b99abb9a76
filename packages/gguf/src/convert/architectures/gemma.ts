import type { ModelConfig } from '../config.js';
import { ropeSettings } from '../config.js';
import type { ConversionSource, GgufArchitecture, ModelTensor } from '../conversion.js';
import type { NameRules } from '../tensor-names.js';
import { f32, u32 } from '../values.js';
import { decoderKeys, decoderRules, decoderTensors } from './decoder.js';

const rules: NameRules = {
  ...decoderRules,
  'layers.N.post_attention_layernorm': 'blk.N.post_attention_norm',
  'layers.N.pre_feedforward_layernorm': 'blk.N.ffn_norm',
  'layers.N.post_feedforward_layernorm': 'blk.N.post_ffw_norm',
};

/** Gemma's norms multiply by 1 + w; the file holds what they multiply by. */
const shiftedNorms: NameRules = Object.fromEntries(
  Object.entries(rules).map(([from, to]) => [
    from,
    typeof to === 'string' && to.endsWith('norm') ? { to, plus: 1 } : to,
  ]),
);

/** The head is the embeddings, whatever the config says. */
const gemmaTensors = (config: ModelConfig, source: ConversionSource): readonly ModelTensor[] =>
  decoderTensors(config, source, { rules: shiftedNorms, dropped: /^lm_head\./ });

export const gemma2Gguf: GgufArchitecture = {
  name: 'gemma2',
  modelTypes: ['gemma2'],
  hyperparameters: (config) =>
    decoderKeys(config)
      .set('attn_logit_softcapping', f32(config.number('attn_logit_softcapping', 50)))
      .set('final_logit_softcapping', f32(config.number('final_logit_softcapping', 30)))
      .set('attention.sliding_window', u32(config.number('sliding_window', 4096))),
  tensors: gemmaTensors,
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
      config.refuse('layer_types', 'llama.cpp knows Gemma 3 with every sixth layer global');
    return keys;
  },
  tensors: gemmaTensors,
  tokenizer: { addSpacePrefix: false },
};
