import { expect, it } from 'vitest';
import { describeModel } from '../describe-model.js';

const config = (layers: number) => ({
  ...{ model_type: 'qwen3', hidden_size: 32, intermediate_size: 64, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ num_hidden_layers: layers, vocab_size: 48, max_position_embeddings: 64, head_dim: 16 },
});

it('says the heads of a block of thousands without describing it: 44,444 whole ones took 400 MB', () => {
  const [few, many] = [describeModel(config(3)), describeModel(config(1200))];
  for (const index of [0, 2]) expect(many.blocks[index]!.attention).toEqual(few.blocks[index]!.attention);
  expect(many.blocks[1199]!.attention?.value.module).toBe('model.layers.1199.self_attn.v_proj');
  expect((many.blocks[1199] as unknown as { whole?: object }).whole).toBeUndefined();
});
