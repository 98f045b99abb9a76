import type { Hash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';

/** Adds what says that a model folder is the same as before: config, headers, sizes and times of its weight files. */
export async function hashCheckpoint(hash: Hash, checkpoint: Checkpoint): Promise<void> {
  hash.update(JSON.stringify(checkpoint.config));
  hash.update(JSON.stringify([...checkpoint.tensors]));
  for (const file of new Set([...checkpoint.tensors.values()].map(({ file }) => file))) {
    const { size, mtimeMs } = await stat(join(checkpoint.path, file));
    hash.update(`${file} ${size} ${mtimeMs}`);
  }
}

/** Adds the token ids of windows. */
export function hashWindows(hash: Hash, { count, length, ids }: Windows): void {
  hash.update(`${count} ${length}`);
  hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
}
