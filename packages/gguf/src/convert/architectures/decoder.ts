import type { GgufValue } from '../../metadata.js';
import { type ModelConfig, ropeSettings } from '../config.js';
import type { ConversionSource, ModelTensor } from '../conversion.js';
import type { FileSettings } from '../file-settings.js';
import { type NameRules, type Naming, nameTensors } from '../tensor-names.js';
import { f32, u32 } from '../values.js';
import { storedRope } from './stored-rope.js';
import { usualSizes } from './usual-sizes.js';

/** Possible prefixes of the names of a decoder: nothing, `model.`, or the text part of a model with vision. */
const decoderPrefix = /^(?:model\.)?(?:language_model\.)?(?:model\.)?/;

/** Modules that the descendants of Llama share. */
export const decoderRules: NameRules = {
  embed_tokens: 'token_embd',
  norm: 'output_norm',
  lm_head: 'output',
  'layers.N.input_layernorm': 'blk.N.attn_norm',
  'layers.N.self_attn.q_proj': 'blk.N.attn_q',
  'layers.N.self_attn.k_proj': 'blk.N.attn_k',
  'layers.N.self_attn.v_proj': 'blk.N.attn_v',
  'layers.N.self_attn.o_proj': 'blk.N.attn_output',
  'layers.N.self_attn.q_norm': 'blk.N.attn_q_norm',
  'layers.N.self_attn.k_norm': 'blk.N.attn_k_norm',
  'layers.N.post_attention_layernorm': 'blk.N.ffn_norm',
  'layers.N.mlp.gate_proj': 'blk.N.ffn_gate',
  'layers.N.mlp.up_proj': 'blk.N.ffn_up',
  'layers.N.mlp.down_proj': 'blk.N.ffn_down',
};

export const headsOf = (config: ModelConfig): number => config.number('num_attention_heads');
export const keyHeadsOf = (config: ModelConfig): number => config.number('num_key_value_heads', headsOf(config));

/** @throws SchemeError for a size without pairs of values to rotate */
export function headSizeOf(config: ModelConfig): number {
  const size = config.number('head_dim', config.number('hidden_size') / headsOf(config));
  if (!Number.isInteger(size / 2)) config.refuse('head_dim', `rotary positions need an even size, not ${size}`);
  return size;
}

/** Names by `naming`; a head that is tied to the embeddings is not written twice. */
export function decoderTensors(
  config: ModelConfig,
  source: Pick<ConversionSource, 'name' | 'shapes'>,
  naming: Partial<Naming> = {},
): ModelTensor[] {
  const tied = config.boolean('tie_word_embeddings', false);
  const dropped = [
    /rotary_emb\.inv_freq$/,
    ...(tied ? [/^lm_head\./] : []),
    ...(naming.dropped ? [naming.dropped] : []),
  ];
  return nameTensors(source, {
    rules: decoderRules,
    prefix: decoderPrefix,
    ...naming,
    dropped: new RegExp(dropped.map(({ source: pattern }) => `(?:${pattern})`).join('|')),
  });
}

/**
 * The keys that all decoders with RMS norms and rotary positions have.
 * @param scaling how positions are scaled; the common ways when absent
 */
export function decoderKeys(
  config: ModelConfig,
  absentTheta?: number,
  scaling: (config: ModelConfig) => readonly (readonly [string, GgufValue])[] = ropeScalingKeys,
): Map<string, GgufValue> {
  const [heads, size] = [headsOf(config), headSizeOf(config)];
  const rope = ropeSettings(config, absentTheta);
  const keys = new Map<string, GgufValue>([
    ['block_count', u32(config.number('num_hidden_layers'))],
    ['context_length', u32(config.number('max_position_embeddings'))],
    ['embedding_length', u32(config.number('hidden_size'))],
    ['feed_forward_length', u32(config.number('intermediate_size'))],
    ['attention.head_count', u32(heads)],
    ['attention.head_count_kv', u32(keyHeadsOf(config))],
    ['attention.key_length', u32(size)],
    ['attention.value_length', u32(size)],
    ['attention.layer_norm_rms_epsilon', f32(config.number('rms_norm_eps', 1e-6))],
    ['rope.freq_base', f32(rope.theta)],
    ['rope.dimension_count', u32(size)],
    ['vocab_size', u32(config.number('vocab_size'))],
  ]);
  for (const [key, value] of scaling(config)) keys.set(key, value);
  return keys;
}

/** Linear and YaRN scaling are keys; that of Llama 3 is a tensor, see {@link ropeFactors}. */
function ropeScalingKeys(config: ModelConfig): readonly (readonly [string, GgufValue])[] {
  const { type, scaling } = ropeSettings(config);
  if (type === 'default' || type === 'llama3') return [];
  if (type === 'linear')
    return [
      ['rope.scaling.type', { type: 'string', value: 'linear' }],
      ['rope.scaling.factor', f32(scaling.number('factor'))],
    ];
  if (type === 'yarn') {
    const optional = [
      ['attention_factor', 'attn_factor'],
      ['beta_fast', 'yarn_beta_fast'],
      ['beta_slow', 'yarn_beta_slow'],
    ].flatMap(([from, to]) => (scaling.has(from) ? [[`rope.scaling.${to}`, f32(scaling.number(from))] as const] : []));
    return [
      ['rope.scaling.type', { type: 'string', value: 'yarn' }],
      ['rope.scaling.factor', f32(scaling.number('factor'))],
      ['rope.scaling.original_context_length', u32(scaling.number('original_max_position_embeddings'))],
      ...optional,
    ];
  }
  return scaling.refuse('rope_type', 'linear, yarn and llama3 can be written');
}

/**
 * `rope_freqs.weight`: the divisors of the frequencies of Llama 3.1. Wavelengths beyond the original context are
 * divided by `factor`, short ones stay, and those between change gradually.
 */
export function ropeFactors(config: ModelConfig): readonly ModelTensor[] {
  const { type, theta, scaling } = ropeSettings(config);
  if (type !== 'llama3') return [];
  const factor = scaling.number('factor', 8);
  const low = scaling.number('low_freq_factor', 1);
  const high = scaling.number('high_freq_factor', 4);
  const context = scaling.number('original_max_position_embeddings', 8192);
  const size = headSizeOf(config);
  const values = Float32Array.from({ length: size / 2 }, (_, k) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * k) / size);
    if (wavelength < context / high) return 1;
    if (wavelength > context / low) return factor;
    const smooth = (context / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
  return [{ name: 'rope_freqs.weight', shape: [size / 2], from: [], values }];
}

/**
 * A config from the output of {@link decoderKeys}. If a file has no head, the embeddings are the head.
 * @param rope the file's settings of positions; the common ones when absent
 */
export function decoderConfig(
  file: FileSettings,
  modelType: string,
  rope: (file: FileSettings, size: number) => Record<string, unknown> = storedRope,
): Record<string, unknown> {
  const sizes = usualSizes(file);
  const { hidden_size: hidden, num_attention_heads: heads } = sizes;
  const size = file.number('attention.key_length', hidden / heads);
  if (file.number('attention.value_length', size) !== size)
    file.refuse('attention.value_length', `keys have ${size} values a head, and values are needed to have as many`);
  return {
    model_type: modelType,
    ...sizes,
    num_key_value_heads: file.number('attention.head_count_kv', heads),
    head_dim: size,
    rms_norm_eps: file.number('attention.layer_norm_rms_epsilon'),
    tie_word_embeddings: file.shape('output.weight') === undefined,
    hidden_act: 'silu',
    attention_bias: file.shape('blk.0.attn_q.bias') !== undefined,
    mlp_bias: file.shape('blk.0.ffn_up.bias') !== undefined,
    ...rope(file, size),
  };
}
