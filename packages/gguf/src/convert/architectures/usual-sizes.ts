import type { FileSettings } from '../file-settings.js';

/** Sizes of a model that its file and most configs name alike; an architecture's `config` adds its own keys. */
export const usualSizes = (file: FileSettings) => ({
  hidden_size: file.number('embedding_length'),
  num_hidden_layers: file.number('block_count'),
  intermediate_size: file.number('feed_forward_length'),
  num_attention_heads: file.number('attention.head_count'),
  max_position_embeddings: file.number('context_length'),
  vocab_size: file.shape('token_embd.weight')?.[0],
});
