import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { joinStacks } from '@q/checkpoint';
import { createRandom, fromF32 } from '@q/core';
import { describeModel, stacksOf } from '@q/models';
import { createShardWriter, planShards } from '@q/safetensors';

const shared = {
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  vocab_size: 48,
  num_experts_per_tok: 2,
  tie_word_embeddings: false,
};

export const tinyConfigs = {
  mixtral: { ...shared, model_type: 'mixtral', intermediate_size: 64, num_local_experts: 8 },
  qwen2_moe: {
    ...shared,
    model_type: 'qwen2_moe',
    intermediate_size: 64,
    moe_intermediate_size: 32,
    shared_expert_intermediate_size: 64,
    num_experts: 8,
    mlp_only_layers: [],
  },
} as const;

/** Its files store the experts of a layer as one tensor. */
export const tinyGptOss = {
  ...shared,
  model_type: 'gpt_oss',
  architectures: ['GptOssForCausalLM'],
  hidden_size: 64,
  intermediate_size: 32,
  head_dim: 16,
  num_local_experts: 4,
  sliding_window: 4,
};

/**
 * A model folder with random weights, and ids to calibrate and score it with. In the last layer the rows from 4 on of
 * routers with more rows are zero: of equal logits the lower index wins, so no token ever reaches the experts 6 and 7.
 *
 * @param names names of some tensors in the file, if they are not the usual ones
 * @param others shapes of tensors in addition to those of the model
 */
export async function writeTinyModel(
  folder: string,
  config: Record<string, unknown>,
  names?: readonly string[],
  others: Readonly<Record<string, readonly number[]>> = {},
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const described = describeModel(config, undefined, names && new Set(names));
  const expected = new Map([...described.expected, ...Object.entries(others)]);
  const writer = await createShardWriter(
    folder,
    planShards(
      joinStacks(
        [...expected].map(([name, shape]) => ({ name, dtype: 'F32', shape })),
        stacksOf(config),
      ),
    ),
  );
  const random = createRandom(11);
  for (const [name, shape] of expected) {
    const [rows] = shape;
    const columns = shape.slice(1).reduce((product, size) => product * size, 1);
    const scale = shape.length === 1 ? 0.1 : 1 / Math.sqrt(columns);
    const values = Float32Array.from({ length: rows * columns }, () => scale * random.normal());
    if (shape.length === 1 && !name.endsWith('.bias')) for (let i = 0; i < rows; i++) values[i] += 1;
    if (/layers\.1\.(mlp|block_sparse_moe)\.gate\.weight$/.test(name)) values.fill(0, 4 * columns);
    await writer.write(name, fromF32('f32', shape, values));
  }
  await writer.finish();
  await writeFile(
    join(folder, 'ids.u16'),
    Uint16Array.from({ length: 64 * 16 }, () => random.integer(48)),
  );
}
