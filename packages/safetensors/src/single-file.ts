import { rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Tensor } from '@q/core';
import { openFile } from './byte-source.js';
import { fileDtype } from './file-dtype.js';
import { readHeader } from './header.js';
import { readTensor } from './read-tensor.js';
import { planShards } from './shard-plan.js';
import { createShardWriter } from './shard-writer.js';

/**
 * All tensors of one file of any name (adapters, tasks): small ones, held in memory.
 * @throws FormatError naming the file and what is wrong
 */
export async function readSafetensorsFile(path: string): Promise<Map<string, Tensor>> {
  const source = await openFile(path);
  try {
    const { tensors } = await readHeader(source);
    const out = new Map<string, Tensor>();
    for (const [name, entry] of tensors) out.set(name, await readTensor(source, entry));
    return out;
  } finally {
    await source.close();
  }
}

/**
 * Writes tensors to one file of any name, which is there as a whole or not at all.
 * @throws WriteError naming the file
 */
export async function writeSafetensorsFile(path: string, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  const plan = planShards(
    [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype: fileDtype(dtype), shape })),
    { maxShardBytes: Number.MAX_SAFE_INTEGER },
  );
  const folder = dirname(path);
  const writer = await createShardWriter(folder, plan);
  try {
    for (const [name, each] of tensors) await writer.write(name, each);
    const [written] = await writer.finish();
    if (written !== basename(path)) await rename(join(folder, written), path);
  } catch (error) {
    await writer.abort();
    throw error;
  }
}
