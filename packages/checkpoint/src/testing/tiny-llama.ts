import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, type Tensor, tensor } from '@q/core';
import { writeSafetensorsFile } from '@q/safetensors';

/** config.json of a Llama of one block with 16 features and 24 tokens. */
export const tinyConfig = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  vocab_size: 24,
  tie_word_embeddings: false,
};

/** Its tensors, from a seed. */
export function tinyTensors(seed = 1): Map<string, Tensor> {
  const random = createRandom(seed);
  const values = (...shape: number[]) =>
    tensor(
      'f32',
      shape,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.uniform() - 0.5),
    );
  const layer = 'model.layers.0';
  return new Map<string, Tensor>([
    ['model.embed_tokens.weight', values(24, 16)],
    [`${layer}.input_layernorm.weight`, values(16)],
    ...['q', 'k', 'v', 'o'].map((part) => [`${layer}.self_attn.${part}_proj.weight`, values(16, 16)] as const),
    [`${layer}.post_attention_layernorm.weight`, values(16)],
    [`${layer}.mlp.gate_proj.weight`, values(32, 16)],
    [`${layer}.mlp.up_proj.weight`, values(32, 16)],
    [`${layer}.mlp.down_proj.weight`, values(16, 32)],
    ['model.norm.weight', values(16)],
    ['lm_head.weight', values(24, 16)],
  ]);
}

/** Writes config.json (an object, or its text) and model.safetensors into a folder. */
export async function writeModelFolder(
  folder: string,
  config: object | string = tinyConfig,
  tensors: ReadonlyMap<string, Tensor> = tinyTensors(),
): Promise<void> {
  await writeFile(join(folder, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  await writeSafetensorsFile(join(folder, 'model.safetensors'), tensors);
}
