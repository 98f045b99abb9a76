import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type TrainingStore, tensor } from '@q/core';
import { createShardWriter, openShards, planShards } from '@q/safetensors';

/** Folder inside the output folder that holds the training checkpoint of an unfinished run. */
export const trainingName = 'q-training';

/**
 * Training checkpoints as safetensors. The new one is complete in a folder of its own before the old one goes, so that a
 * crash at any moment leaves one of them.
 */
export function trainingStore(out: string): TrainingStore & { remove(): Promise<void> } {
  const current = join(out, trainingName);
  const next = join(out, `${trainingName}.next`);
  const exists = async (path: string) => (await stat(path).catch(() => undefined)) !== undefined;
  const remove = (path: string) => rm(path, { recursive: true, force: true });
  return {
    async load() {
      if (!(await exists(current))) {
        if (!(await exists(join(next, 'model.safetensors')))) return undefined;
        await rename(next, current);
      }
      const shards = await openShards(current);
      const state = new Map<string, Float32Array>();
      for (const name of shards.entries.keys()) state.set(name, (await shards.read(name)).data as Float32Array);
      await shards.close();
      return state;
    },
    async save(state) {
      await remove(next);
      await mkdir(next);
      const tensors = [...state].filter(([, { length }]) => length > 0);
      const plan = planShards(
        tensors.map(([name, { length }]) => ({ name, dtype: 'F32', shape: [length] })),
        { maxShardBytes: Number.MAX_SAFE_INTEGER },
      );
      const writer = await createShardWriter(next, plan);
      for (const [name, data] of tensors) await writer.write(name, tensor('f32', [data.length], data));
      await writer.sync();
      await writer.finish();
      await remove(current);
      await rename(next, current);
    },
    async remove() {
      await remove(current);
      await remove(next);
    },
  };
}
