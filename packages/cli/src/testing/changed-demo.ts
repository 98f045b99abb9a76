import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '@q/checkpoint';
import { fromF32 } from '@q/core';
import { createShardWriter, planShards } from '@q/safetensors';
import { demo } from './demo.js';

/**
 * The embedded model in f32 with other values in the linears of its blocks.
 * @param change works on a copy of the values, row-major `[out, in]`
 */
export async function writeChangedDemo(
  folder: string,
  change: (values: Float32Array, shape: readonly number[], name: string) => void,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const file of await readdir(demo.model))
    if (!file.endsWith('.safetensors')) await copyFile(join(demo.model, file), join(folder, file));
  const source = await openCheckpoint(demo.model, []);
  try {
    const linears = new Set(source.model?.blocks.flatMap(({ linears: own }) => own.map(({ module }) => module)));
    const names = [...source.tensors.keys()];
    const shapes = names.map((name) => source.tensors.get(name)?.shape as readonly number[]);
    const writer = await createShardWriter(
      folder,
      planShards(names.map((name, i) => ({ name, dtype: 'F32', shape: shapes[i] }))),
    );
    for (const [i, name] of names.entries()) {
      const values = (await source.weight(name)).data.slice();
      if (linears.has(name.replace(/\.weight$/, ''))) change(values, shapes[i], name);
      await writer.write(name, fromF32('f32', shapes[i], values));
    }
    await writer.finish();
  } finally {
    await source.close();
  }
}
