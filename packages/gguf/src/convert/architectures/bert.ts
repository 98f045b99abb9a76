import type { GgufValue } from '../../metadata.js';
import type { ModelConfig } from '../config.js';
import type { ConversionSource, GgufArchitecture, Pooling } from '../conversion.js';
import type { FileSettings } from '../file-settings.js';
import { rowRange } from '../row-orders.js';
import { type NameRules, nameTensors } from '../tensor-names.js';
import { bool, f32, u32 } from '../values.js';
import { usualSizes } from './usual-sizes.js';

/** llama.cpp's numbers of the pooling types. */
export const poolingTypes: Readonly<Record<Pooling, number>> = { none: 0, mean: 1, cls: 2, last: 3 };

function encoderKeys(config: ModelConfig, { pooling = 'none' }: ConversionSource): Map<string, GgufValue> {
  return new Map([
    ['block_count', u32(config.number(['num_hidden_layers', 'n_layers']))],
    ['context_length', u32(config.number('max_position_embeddings') - positionsBefore(config))],
    ['embedding_length', u32(config.number(['hidden_size', 'dim']))],
    ['feed_forward_length', u32(config.number(['intermediate_size', 'hidden_dim']))],
    ['attention.head_count', u32(config.number(['num_attention_heads', 'n_heads']))],
    ['attention.layer_norm_epsilon', f32(config.number('layer_norm_eps', 1e-12))],
    ['attention.causal', bool(false)],
    ['pooling_type', u32(poolingTypes[pooling])],
  ]);
}

/** RoBERTa counts positions beginning after the padding token's id. */
const positionsBefore = (config: ModelConfig): number =>
  /roberta|camembert/.test(config.string('model_type', '')) ? config.number('pad_token_id', 1) + 1 : 0;

const bertRules: NameRules = {
  'embeddings.word_embeddings': 'token_embd',
  'embeddings.token_type_embeddings': 'token_types',
  'embeddings.LayerNorm': 'token_embd_norm',
  'encoder.layer.N.attention.self.query': 'blk.N.attn_q',
  'encoder.layer.N.attention.self.key': 'blk.N.attn_k',
  'encoder.layer.N.attention.self.value': 'blk.N.attn_v',
  'encoder.layer.N.attention.output.dense': 'blk.N.attn_output',
  'encoder.layer.N.attention.output.LayerNorm': 'blk.N.attn_output_norm',
  'encoder.layer.N.intermediate.dense': 'blk.N.ffn_up',
  'encoder.layer.N.output.dense': 'blk.N.ffn_down',
  'encoder.layer.N.output.LayerNorm': 'blk.N.layer_output_norm',
};

const heads = /^(?:cls|lm_head|classifier|vocab_|pre_classifier|qa_outputs)/;

/** Heads are left out, and the poolers that only they read. */
const dropped = new RegExp(`${heads.source}|^pooler|position_ids$`);

/** BERT, RoBERTa and XLM-RoBERTa. */
export const bertGguf: GgufArchitecture = {
  name: 'bert',
  modelTypes: ['bert', 'roberta', 'xlm-roberta', 'camembert'],
  heads,
  hyperparameters: encoderKeys,
  tensors(config, source) {
    const skipped = positionsBefore(config);
    const order = (rows: number) => rowRange(skipped, rows);
    return nameTensors(source, {
      prefix: /^(?:bert|roberta|camembert)\./,
      dropped,
      rules: {
        ...bertRules,
        'embeddings.position_embeddings': { to: 'position_embd', ...(skipped > 0 ? { order } : {}) },
      },
    });
  },
  /** Positions of a file begin at its first row, as in BERT, for every source. */
  config(file) {
    if (!file.shape('token_types.weight')) return distilBertConfig(file);
    return {
      ...{ model_type: 'bert', hidden_act: 'gelu', ...usualSizes(file) },
      max_position_embeddings: file.shape('position_embd.weight')?.[0],
      layer_norm_eps: file.number('attention.layer_norm_epsilon'),
      type_vocab_size: file.shape('token_types.weight')?.[0],
    };
  },
  tokenizer: { tokenTypes: (config) => config.number('type_vocab_size', 1) },
};

const distilBertConfig = (file: FileSettings) => ({
  ...{ model_type: 'distilbert', activation: 'gelu', dim: file.number('embedding_length') },
  n_layers: file.number('block_count'),
  max_position_embeddings: file.shape('position_embd.weight')?.[0],
  hidden_dim: file.number('feed_forward_length'),
  n_heads: file.number('attention.head_count'),
  vocab_size: file.shape('token_embd.weight')?.[0],
});

/** DistilBERT: BERT without token types. */
export const distilBertGguf: GgufArchitecture = {
  name: 'bert',
  modelTypes: ['distilbert'],
  heads,
  hyperparameters: encoderKeys,
  tensors: (_, source) =>
    nameTensors(source, {
      prefix: /^distilbert\./,
      dropped,
      rules: {
        'embeddings.word_embeddings': 'token_embd',
        'embeddings.position_embeddings': 'position_embd',
        'embeddings.LayerNorm': 'token_embd_norm',
        'transformer.layer.N.attention.q_lin': 'blk.N.attn_q',
        'transformer.layer.N.attention.k_lin': 'blk.N.attn_k',
        'transformer.layer.N.attention.v_lin': 'blk.N.attn_v',
        'transformer.layer.N.attention.out_lin': 'blk.N.attn_output',
        'transformer.layer.N.sa_layer_norm': 'blk.N.attn_output_norm',
        'transformer.layer.N.ffn.lin1': 'blk.N.ffn_up',
        'transformer.layer.N.ffn.lin2': 'blk.N.ffn_down',
        'transformer.layer.N.output_layer_norm': 'blk.N.layer_output_norm',
      },
    }),
  tokenizer: { tokenTypes: () => 1 },
};
