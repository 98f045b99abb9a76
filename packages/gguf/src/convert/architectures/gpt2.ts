import type { GgufArchitecture } from '../conversion.js';
import { splitFusedHeads } from '../row-orders.js';
import { nameTensors } from '../tensor-names.js';
import { bool, f32, u32 } from '../values.js';
import { headSizeOf, headsOf } from './decoder.js';
import { ropeSettingsShare } from './partial-rotary.js';
import { usualSizes } from './usual-sizes.js';

/** GPT-2. The source gives its linears as `[out, in]`, as in the file. */
export const gpt2Gguf: GgufArchitecture = {
  name: 'gpt2',
  modelTypes: ['gpt2'],
  hyperparameters(config) {
    const width = config.number('n_embd');
    return new Map([
      ['block_count', u32(config.number('n_layer'))],
      ['context_length', u32(config.number(['n_positions', 'n_ctx'], 1024))],
      ['embedding_length', u32(width)],
      ['feed_forward_length', u32(config.number('n_inner', 4 * width))],
      ['attention.head_count', u32(config.number('n_head'))],
      ['attention.layer_norm_epsilon', f32(config.number('layer_norm_epsilon', 1e-5))],
    ]);
  },
  tensors: (config, source) =>
    nameTensors(source, {
      prefix: /^transformer\./,
      dropped: config.boolean('tie_word_embeddings', true)
        ? /\.attn\.(?:bias|masked_bias)$|^lm_head\./
        : /\.attn\.(?:bias|masked_bias)$/,
      rules: {
        wte: 'token_embd',
        wpe: 'position_embd',
        ln_f: 'output_norm',
        lm_head: 'output',
        'h.N.ln_1': 'blk.N.attn_norm',
        'h.N.attn.c_attn': 'blk.N.attn_qkv',
        'h.N.attn.c_proj': 'blk.N.attn_output',
        'h.N.ln_2': 'blk.N.ffn_norm',
        'h.N.mlp.c_fc': 'blk.N.ffn_up',
        'h.N.mlp.c_proj': 'blk.N.ffn_down',
      },
    }),
  config: (file) => ({
    ...{ model_type: 'gpt2', activation_function: 'gelu_new', n_embd: file.number('embedding_length') },
    n_layer: file.number('block_count'),
    n_positions: file.number('context_length'),
    n_inner: file.number('feed_forward_length'),
    n_head: file.number('attention.head_count'),
    layer_norm_epsilon: file.number('attention.layer_norm_epsilon'),
    vocab_size: file.shape('token_embd.weight')?.[0],
    tie_word_embeddings: file.shape('output.weight') === undefined,
  }),
};

/** GPT-NeoX and Pythia. */
export const gptNeoxGguf: GgufArchitecture = {
  name: 'gptneox',
  modelTypes: ['gpt_neox'],
  hyperparameters(config) {
    const { theta, share } = ropeSettingsShare(config, 'rotary_pct', 0.25);
    const size = headSizeOf(config);
    return new Map([
      ['block_count', u32(config.number('num_hidden_layers'))],
      ['context_length', u32(config.number('max_position_embeddings'))],
      ['embedding_length', u32(config.number('hidden_size'))],
      ['feed_forward_length', u32(config.number('intermediate_size'))],
      ['attention.head_count', u32(headsOf(config))],
      ['attention.layer_norm_epsilon', f32(config.number('layer_norm_eps', 1e-5))],
      ['rope.dimension_count', u32(Math.floor(share * size))],
      ['rope.freq_base', f32(config.number('rotary_emb_base', theta))],
      ['use_parallel_residual', bool(config.boolean('use_parallel_residual', true))],
    ]);
  },
  tensors(config, source) {
    const order = (rows: number) => splitFusedHeads(rows, headsOf(config));
    return nameTensors(source, {
      prefix: /^gpt_neox\./,
      dropped: /\.attention\.(?:bias|masked_bias|rotary_emb\.inv_freq)$/,
      rules: {
        embed_in: 'token_embd',
        embed_out: 'output',
        final_layer_norm: 'output_norm',
        'layers.N.input_layernorm': 'blk.N.attn_norm',
        'layers.N.attention.query_key_value': { to: 'blk.N.attn_qkv', order },
        'layers.N.attention.dense': 'blk.N.attn_output',
        'layers.N.post_attention_layernorm': 'blk.N.ffn_norm',
        'layers.N.mlp.dense_h_to_4h': 'blk.N.ffn_up',
        'layers.N.mlp.dense_4h_to_h': 'blk.N.ffn_down',
      },
    });
  },
  config(file) {
    const sizes = usualSizes(file);
    const { hidden_size: hidden, num_attention_heads: heads } = sizes;
    return {
      ...{ model_type: 'gpt_neox', hidden_act: 'gelu', ...sizes },
      layer_norm_eps: file.number('attention.layer_norm_epsilon'),
      rotary_pct: file.number('rope.dimension_count') / (hidden / heads),
      rotary_emb_base: file.number('rope.freq_base', 10000),
      use_parallel_residual: file.flag('use_parallel_residual', true),
      tie_word_embeddings: file.shape('output.weight') === undefined,
    };
  },
};
