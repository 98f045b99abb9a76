import { FormatError } from '@q/core';
import { createDurableFile, createEarlySync, type FileOptions } from '@q/durable-files';
import type { GgufFilePlan } from './file-plan.js';

/** Writes the tensors of a plan, in any order and in pieces, each at its planned offset. */
export interface GgufWriter {
  /** Writes bytes of a tensor from `offset` (in bytes from the tensor's start). */
  write(name: string, bytes: Uint8Array, offset?: number): Promise<void>;
  /**
   * Syncs, and gives the file its final name.
   * @throws FormatError when a tensor is incomplete
   */
  finish(): Promise<void>;
  /** Closes and removes the file. Does nothing after `finish`. */
  abort(): Promise<void>;
}

/**
 * Opens a file under a temporary name (`*.partial`) next to `path`, so a file under the final name is always complete.
 * @throws WriteError naming the file
 */
export async function createGgufWriter(
  path: string,
  plan: GgufFilePlan,
  options: FileOptions = {},
): Promise<GgufWriter> {
  const file = await createDurableFile(path, options);
  const missing = new Map([...plan.places].map(([name, { begin, end }]) => [name, end - begin]));
  let ended = false;
  const early = createEarlySync(file);

  async function abort(): Promise<void> {
    if (ended) return;
    ended = true;
    await early.idle();
    await file.abort();
  }

  try {
    await file.write(plan.header, 0);
    await file.truncate(plan.byteLength);
  } catch (error) {
    await abort().catch(() => {});
    throw error;
  }
  return {
    async write(name, bytes, offset = 0) {
      const place = plan.places.get(name);
      if (!place) throw new FormatError(`${path}: tensor ${name} is not in the plan of this file`);
      const size = place.end - place.begin;
      if (offset + bytes.length > size)
        throw new FormatError(`${path}: tensor ${name} has ${size} bytes, ${offset + bytes.length} were to be written`);
      await file.write(bytes, place.begin + offset);
      missing.set(name, (missing.get(name) as number) - bytes.length);
      early.wrote(bytes.length);
    },
    async finish() {
      for (const [name, bytes] of missing)
        if (bytes !== 0) throw new FormatError(`${path}: tensor ${name} is incomplete: ${bytes} bytes are missing`);
      await early.finish();
      await file.commit();
      ended = true;
    },
    abort,
  };
}
