/**
 * A small model of an architecture, with the settings of the tests. Its rows are whole blocks of 256, so every type of
 * GGUF fits.
 */
export interface SmallModel {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Gains of norms are stored as their difference from 1. */
  readonly shiftedNorms?: true;
  /** Kind of an encoder's tokenizer; decoders have byte pairs. */
  readonly encoder?: 'words' | 'bytes';
}

/** Number of tokens of a text: more than a window of the models that have windows. */
export const textLength = 40;
const window = 16;

const decoder = {
  ...{ vocab_size: 768, hidden_size: 256, intermediate_size: 512, num_hidden_layers: 2, num_attention_heads: 4 },
  ...{ num_key_value_heads: 2, max_position_embeddings: 64, rms_norm_eps: 1e-5, bos_token_id: 0, eos_token_id: 0 },
};
const gemma = {
  ...decoder,
  ...{ rms_norm_eps: 1e-6, head_dim: 64, query_pre_attn_scalar: 64, sliding_window: window, tie_word_embeddings: true },
  hidden_activation: 'gelu_pytorch_tanh',
};
const encoder = {
  ...{ vocab_size: 768, hidden_size: 256, intermediate_size: 512, num_hidden_layers: 2, num_attention_heads: 4 },
  ...{ max_position_embeddings: 64, layer_norm_eps: 1e-12, hidden_act: 'gelu' },
};

export const smallModels: readonly SmallModel[] = [
  { name: 'llama', config: { ...decoder, model_type: 'llama', tie_word_embeddings: true } },
  { name: 'qwen2', config: { ...decoder, model_type: 'qwen2', tie_word_embeddings: true } },
  { name: 'qwen3', config: { ...decoder, model_type: 'qwen3', head_dim: 64, tie_word_embeddings: true } },
  {
    name: 'gemma2',
    config: { ...gemma, model_type: 'gemma2', attn_logit_softcapping: 50, final_logit_softcapping: 30 },
    shiftedNorms: true,
  },
  {
    name: 'gemma3',
    config: { ...gemma, model_type: 'gemma3_text', num_hidden_layers: 6, sliding_window_pattern: 6, rope_theta: 1e6 },
    shiftedNorms: true,
  },
  { name: 'phi3', config: { ...decoder, model_type: 'phi3', tie_word_embeddings: false, pad_token_id: 0 } },
  {
    name: 'gpt2',
    config: {
      ...{ model_type: 'gpt2', vocab_size: 768, n_embd: 256, n_head: 4, n_layer: 2, n_positions: 64, n_inner: 512 },
      ...{ bos_token_id: 0, eos_token_id: 0 },
    },
  },
  { name: 'olmo2', config: { ...decoder, model_type: 'olmo2', tie_word_embeddings: false } },
  {
    name: 'qwen3-moe',
    config: {
      ...{ ...decoder, model_type: 'qwen3_moe', head_dim: 64, tie_word_embeddings: false, norm_topk_prob: true },
      ...{ moe_intermediate_size: 256, num_experts: 4, num_experts_per_tok: 2 },
    },
  },
  {
    name: 'qwen2-moe',
    config: {
      ...{ ...decoder, model_type: 'qwen2_moe', tie_word_embeddings: false, norm_topk_prob: false },
      ...{ moe_intermediate_size: 256, num_experts: 4, num_experts_per_tok: 2, shared_expert_intermediate_size: 512 },
    },
  },
  {
    name: 'gpt-oss',
    config: {
      ...{ ...decoder, model_type: 'gpt_oss', head_dim: 64, tie_word_embeddings: false, sliding_window: window },
      ...{ intermediate_size: 256, num_local_experts: 4, num_experts_per_tok: 2 },
    },
  },
  { name: 'bert', config: { ...encoder, model_type: 'bert', type_vocab_size: 2 }, encoder: 'words' },
  {
    name: 'roberta',
    config: {
      ...{ ...encoder, model_type: 'roberta', type_vocab_size: 1, pad_token_id: 1, max_position_embeddings: 66 },
      ...{ bos_token_id: 0, eos_token_id: 2 },
    },
    encoder: 'bytes',
  },
  {
    name: 'modernbert',
    config: {
      ...{ ...encoder, model_type: 'modernbert', num_hidden_layers: 4, norm_eps: 1e-5, local_attention: window },
      ...{ global_attn_every_n_layers: 3, bos_token_id: 0, eos_token_id: 2, pad_token_id: 1 },
      ...{ cls_token_id: 0, sep_token_id: 2 },
    },
    encoder: 'bytes',
  },
  {
    name: 'mpnet',
    config: {
      ...{ ...encoder, model_type: 'mpnet', pad_token_id: 1, max_position_embeddings: 66 },
      ...{ bos_token_id: 0, eos_token_id: 2, relative_attention_num_buckets: 32 },
    },
    encoder: 'words',
  },
  {
    name: 'stablelm',
    config: {
      ...{ ...decoder, model_type: 'stablelm', layer_norm_eps: 1e-5, partial_rotary_factor: 0.25 },
      ...{ use_qkv_bias: true, tie_word_embeddings: false },
    },
  },
  {
    name: 'embedding-gemma',
    config: {
      ...{ ...gemma, model_type: 'gemma3_text', num_hidden_layers: 6, sliding_window_pattern: 6, rope_theta: 1e6 },
      ...{ use_bidirectional_attention: true, bos_token_id: 0, eos_token_id: 2, pad_token_id: 1 },
    },
    shiftedNorms: true,
    encoder: 'bytes',
  },
];

/** Types of the table: the name for `q convert`, and the title of the column. */
export const onnxColumns: readonly (readonly [type: string, title: string])[] = [
  ['fp32', 'fp32'],
  ['q8', 'q8'],
  ['q4', 'q4'],
  ['q4f16', 'q4f16'],
  ['q2', 'q2'],
];
export const ggufColumns: readonly (readonly [type: string, title: string])[] = [
  ['f32', 'F32'],
  ['q8_0', 'Q8_0'],
  ['q4_k_m', 'Q4_K_M'],
  ['q3_k_m', 'Q3_K_M'],
  ['q2_k', 'Q2_K'],
];
