import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom, type Tensor, tensor } from '@q/core';
import { writeSafetensorsFile } from '@q/safetensors';
import { type LlamaShape, llamaConfig, llamaTensors } from './llama-shape.js';

/**
 * The smallest model with groups of 32 and heads that share keys. It has two blocks, so a run does everything that it
 * does for each block. A run takes a tenth of the time of a run on the demo model, whose tokenizer it has.
 */
const shape: LlamaShape = {
  hidden: 32,
  intermediate: 64,
  layers: 2,
  heads: 2,
  keyValueHeads: 1,
  vocabulary: 768,
};

/**
 * Writes a Llama of two blocks with weights of standard deviation 0.08, f32.
 * @param demo folder of the model whose tokenizer is copied
 */
export async function writeInterruptionModel(folder: string, demo: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tensors = new Map<string, Tensor>();
  for (const { name, shape: dims } of llamaTensors(shape)) {
    const random = createRandom(name);
    const isNorm = dims.length === 1;
    const values = Float32Array.from({ length: dims.reduce((product, size) => product * size) }, () =>
      isNorm ? 1 + 0.1 * random.normal() : 0.08 * random.normal(),
    );
    tensors.set(name, tensor('f32', dims, values));
  }
  await writeSafetensorsFile(join(folder, 'model.safetensors'), tensors, { metadata: { format: 'pt' } });
  const ends = { bos_token_id: 0, eos_token_id: 0 };
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...llamaConfig(shape), ...ends }));
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json'])
    await copyFile(join(demo, name), join(folder, name));
}
