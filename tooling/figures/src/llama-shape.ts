import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, encodeBf16 } from '@q/core';
import { type PlannedTensor, planShards } from '@q/safetensors';

/** Sizes of a Llama without weights. */
export interface LlamaShape {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly vocabulary: number;
}

/** https://arxiv.org/abs/2302.13971, table 2 (7B), with the first release's 32,000 tokens. */
export const llama7B: LlamaShape = {
  hidden: 4096,
  intermediate: 11008,
  layers: 32,
  heads: 32,
  keyValueHeads: 32,
  vocabulary: 32000,
};

/** All tensors of a checkpoint, bf16. */
export function llamaTensors(shape: LlamaShape): PlannedTensor[] {
  const { hidden, intermediate, layers, heads, keyValueHeads, vocabulary } = shape;
  const keyValue = (hidden / heads) * keyValueHeads;
  const tensors: PlannedTensor[] = [];
  const add = (name: string, ...dims: number[]) => tensors.push({ name: `${name}.weight`, dtype: 'BF16', shape: dims });
  add('model.embed_tokens', vocabulary, hidden);
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    add(`${prefix}.input_layernorm`, hidden);
    add(`${prefix}.self_attn.q_proj`, hidden, hidden);
    add(`${prefix}.self_attn.k_proj`, keyValue, hidden);
    add(`${prefix}.self_attn.v_proj`, keyValue, hidden);
    add(`${prefix}.self_attn.o_proj`, hidden, hidden);
    add(`${prefix}.post_attention_layernorm`, hidden);
    add(`${prefix}.mlp.gate_proj`, intermediate, hidden);
    add(`${prefix}.mlp.up_proj`, intermediate, hidden);
    add(`${prefix}.mlp.down_proj`, hidden, intermediate);
  }
  add('model.norm', hidden);
  add('lm_head', vocabulary, hidden);
  return tensors;
}

/** The content of its config.json. */
export const llamaConfig = (shape: LlamaShape) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  hidden_size: shape.hidden,
  intermediate_size: shape.intermediate,
  num_hidden_layers: shape.layers,
  num_attention_heads: shape.heads,
  num_key_value_heads: shape.keyValueHeads,
  vocab_size: shape.vocabulary,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
});

/**
 * Writes a bf16 checkpoint of a shape into `folder`. `sparse`: holes for the weights, which use no disk space.
 * `random`: normal values of standard deviation 0.02. Returns its bytes.
 */
export async function writeLlama(folder: string, shape: LlamaShape, fill: 'sparse' | 'random'): Promise<number> {
  const plan = planShards(llamaTensors(shape));
  const noise = new Uint8Array(
    encodeBf16(((random) => Float32Array.from({ length: 2 ** 20 + 1 }, () => 0.02 * random.normal()))(createRandom(1)))
      .buffer,
  );
  for (const { name, header, byteLength } of plan.files) {
    const file = await open(join(folder, name), 'w');
    await file.write(header, 0, header.length, 0);
    if (fill === 'random')
      for (let at = header.length; at < byteLength; at += noise.length)
        await file.write(noise, 0, Math.min(noise.length, byteLength - at), at);
    await file.truncate(byteLength);
    await file.close();
  }
  if (plan.index) await writeFile(join(folder, 'model.safetensors.index.json'), plan.index);
  await writeFile(join(folder, 'config.json'), JSON.stringify(llamaConfig(shape)));
  return plan.byteLength;
}
