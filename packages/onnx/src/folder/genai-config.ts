import type { Checkpoint } from '@q/checkpoint';

/** genai_config.json: where onnxruntime-genai finds the graph, and the names of its inputs and outputs. */
export function genaiConfig({ config, model }: Checkpoint, filename: string): Record<string, unknown> {
  const { attention } = model!.blocks[0]!;
  const { heads, kvHeads, headDim } = attention!;
  const token = (key: string) => (config[key] === undefined || config[key] === null ? {} : { [key]: config[key] });
  const context = model!.maxPositions;
  return {
    model: {
      type: config.model_type,
      ...token('bos_token_id'),
      ...token('eos_token_id'),
      pad_token_id: config.pad_token_id ?? firstOf(config.eos_token_id) ?? 0,
      vocab_size: model!.vocabularySize,
      context_length: context,
      decoder: {
        filename,
        head_size: headDim,
        hidden_size: model!.hiddenSize,
        num_attention_heads: heads,
        num_key_value_heads: kvHeads,
        num_hidden_layers: model!.blocks.length,
        session_options: { provider_options: [] },
        inputs: {
          input_ids: 'input_ids',
          attention_mask: 'attention_mask',
          past_key_names: 'past_key_values.%d.key',
          past_value_names: 'past_key_values.%d.value',
        },
        outputs: { logits: 'logits', present_key_names: 'present.%d.key', present_value_names: 'present.%d.value' },
      },
    },
    search: { max_length: context, do_sample: false, past_present_share_buffer: false },
  };
}

const firstOf = (ids: unknown): unknown => (Array.isArray(ids) ? ids[0] : ids);
