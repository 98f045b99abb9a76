import type { Tensor } from '@q/core';
import { createDurableFile, type FileOptions } from '@q/durable-files';
import type { ByteSource } from './byte-source.js';
import { fileDtype } from './file-dtype.js';
import { openFile } from './file-source.js';
import { readHeader } from './header.js';
import { readTensor } from './read-tensor.js';
import { type PlannedPlace, planShards, type ShardOptions } from './shard-plan.js';

/**
 * All tensors of one file of any name (adapters, tasks): small files, read into memory.
 * @param from its path, or a source, which is closed afterwards
 * @throws FormatError naming the file and the problem
 */
export async function readSafetensorsFile(from: string | ByteSource): Promise<Map<string, Tensor>> {
  const source = typeof from === 'string' ? await openFile(from) : from;
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
 * Writes tensors to one file of any name. The file is either complete or absent.
 * @throws WriteError naming the file
 */
export async function writeSafetensorsFile(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  { metadata, ...options }: FileOptions & Pick<ShardOptions, 'metadata'> = {},
): Promise<void> {
  const { files: planned, places } = planShards(
    [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype: fileDtype(dtype), shape })),
    { maxShardBytes: Number.MAX_SAFE_INTEGER, metadata },
  );
  const [{ header, byteLength }] = planned;
  const file = await createDurableFile(path, options);
  try {
    await file.write(header, 0);
    await file.truncate(byteLength);
    for (const [name, { data }] of tensors)
      await file.write(
        new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
        (places.get(name) as PlannedPlace).begin,
      );
    await file.commit();
  } catch (error) {
    await file.abort().catch(() => {});
    throw error;
  }
}
