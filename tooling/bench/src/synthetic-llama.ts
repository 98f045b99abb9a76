import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRandom, encodeBf16, tensor } from '@q/core';
import { type LlamaShape, llamaConfig, llamaTensors } from '@q/figures/llama-shape';
import { createShardWriter, planShards } from '@q/safetensors';

/** 55.6 million parameters: large enough that products dominate, and small enough for one round of minutes. */
const syntheticShape: LlamaShape = {
  hidden: 1024,
  intermediate: 2816,
  layers: 4,
  heads: 16,
  keyValueHeads: 8,
  vocabulary: 4096,
};

const windows = 128;
const length = 256;
export const syntheticTokens = windows * length;

/**
 * Writes an untrained Llama and tokens for it into `folder`: weights normal with standard deviation 0.02 in bf16, norms
 * one, `calib-128x256.u16` uniform over the vocabulary. A seed gives the same bytes. The tokenizer is the demo's, with
 * fewer tokens: other tools load one, although they get ids.
 */
export async function writeSyntheticLlama(folder: string, seed = 1, shape = syntheticShape): Promise<void> {
  const random = createRandom(seed);
  await mkdir(folder, { recursive: true });
  const tensors = llamaTensors(shape);
  const writer = await createShardWriter(folder, planShards(tensors));
  for (const { name, shape: dims } of tensors) {
    const size = dims.reduce((product, n) => product * n, 1);
    const values = Float32Array.from({ length: size }, dims.length === 1 ? () => 1 : () => 0.02 * random.normal());
    await writer.write(name, tensor('bf16', dims, encodeBf16(values)));
  }
  await writer.finish();
  await writeFile(join(folder, 'config.json'), JSON.stringify(llamaConfig(shape)));
  const demo = fileURLToPath(new URL('../../../packages/cli/demo/model/', import.meta.url));
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) await cp(join(demo, name), join(folder, name));
  const ids = new DataView(new ArrayBuffer(2 * syntheticTokens));
  for (let i = 0; i < syntheticTokens; i++) ids.setUint16(2 * i, random.integer(shape.vocabulary), true);
  await writeFile(join(folder, `calib-${windows}x${length}.u16`), new Uint8Array(ids.buffer));
}
