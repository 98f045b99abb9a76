import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { FormatError, type TrainingStore, tensor } from '@q/core';
import { type FileOptions, makeFolders, nodeFiles } from '@q/durable-files';
import { openFile, readHeader, readTensor, writeSafetensorsFile } from '@q/safetensors';

/** Folder inside the output folder that holds the training checkpoint of an unfinished run. */
export const trainingName = 'q-training';

/**
 * Training checkpoints as safetensors. A new checkpoint is complete before it replaces the old one, in one step, so a
 * crash at any moment leaves one of them.
 */
export function trainingStore(out: string, options: FileOptions = {}): TrainingStore {
  const { files = nodeFiles } = options;
  const path = join(out, trainingName, 'state.safetensors');
  return {
    async load() {
      if (!(await files.info(path))) return undefined;
      const source = await openFile(path);
      try {
        const { tensors, metadata } = await readHeader(source);
        const state = new Map<string, Float32Array>();
        for (const [name, entry] of tensors) state.set(name, (await readTensor(source, entry)).data as Float32Array);
        if (metadata.get('sum') !== sumOfState(state))
          throw new FormatError(`${path}: its sum is wrong: the file was damaged`);
        return state;
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        throw new FormatError(`${error.message}: remove the folder ${dirname(path)} to train from the beginning`);
      } finally {
        await source.close();
      }
    },
    async save(state) {
      await makeFolders(dirname(path), options);
      const kept = new Map([...state].filter(([, { length }]) => length > 0));
      const tensors = new Map([...kept].map(([name, data]) => [name, tensor('f32', [data.length], data)]));
      await writeSafetensorsFile(path, tensors, { ...options, metadata: { format: 'pt', sum: sumOfState(kept) } });
    },
  };
}

function sumOfState(state: ReadonlyMap<string, Float32Array>): string {
  const hash = createHash('sha256');
  for (const [name, { buffer, byteOffset, byteLength }] of [...state].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash.update(`${name} ${byteLength}`).update(new Uint8Array(buffer, byteOffset, byteLength));
  return hash.digest('hex');
}
