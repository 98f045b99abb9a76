import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, type Tensor, tensor } from '@q/core';
import { writeSafetensorsFile } from '@q/safetensors';

/**
 * Writes a folder with a Llama of one block, 32 features wide, with f32 weights of standard deviation 0.1.
 * @param change gets each matrix and returns the matrix that is written
 * @param more tensors in addition to those of the model
 * @param config members of config.json that replace the Llama's
 */
export async function writeSmallLlama(
  folder: string,
  change: (name: string, values: Float32Array) => Float32Array = (_name, values) => values,
  more: ReadonlyMap<string, Tensor> = new Map(),
  config: object = {},
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const shapes: Record<string, readonly number[]> = { 'model.embed_tokens': [16, 32], 'model.norm': [32] };
  for (const name of ['q_proj', 'k_proj', 'v_proj', 'o_proj']) shapes[`model.layers.0.self_attn.${name}`] = [32, 32];
  for (const name of ['gate_proj', 'up_proj']) shapes[`model.layers.0.mlp.${name}`] = [40, 32];
  shapes['model.layers.0.mlp.down_proj'] = [32, 40];
  for (const name of ['input_layernorm', 'post_attention_layernorm']) shapes[`model.layers.0.${name}`] = [32];
  const tensors = new Map<string, Tensor>();
  for (const [module, shape] of Object.entries(shapes)) {
    const random = createRandom(module);
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () =>
      shape.length === 1 ? 1 : 0.1 * random.normal(),
    );
    tensors.set(`${module}.weight`, tensor('f32', shape, shape.length === 1 ? values : change(module, values)));
  }
  for (const [name, value] of more) tensors.set(name, value);
  await writeSafetensorsFile(join(folder, 'model.safetensors'), tensors, { metadata: { format: 'pt' } });
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({
      ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', hidden_size: 32 },
      ...{ intermediate_size: 40, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2 },
      ...{ vocab_size: 16, max_position_embeddings: 64, rms_norm_eps: 1e-5, tie_word_embeddings: true },
      ...config,
    }),
  );
}
