import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { FormatError } from '@q/core';
import { writeError } from '@q/safetensors';
import type { GgufFilePlan } from './file-plan.js';

/** Writes the tensors of a plan, in any order and in pieces, each at its planned place. */
export interface GgufWriter {
  /** Writes bytes of a tensor from `offset` (bytes from the tensor's begin). */
  write(name: string, bytes: Uint8Array, offset?: number): Promise<void>;
  /**
   * Syncs, and gives the file its name.
   * @throws FormatError when a tensor is not there completely
   */
  finish(): Promise<void>;
  /** Closes and removes what was written. Nothing happens after `finish`. */
  abort(): Promise<void>;
}

/** Bytes between syncs: the disk works while more is computed, and little is left for it at the end. */
const syncBytes = 8e6;

/**
 * Opens a file under a temporary name (`*.partial`) beside `path`, so that there is never half a file under the name itself.
 * @throws WriteError naming the file
 */
export async function createGgufWriter(path: string, plan: GgufFilePlan): Promise<GgufWriter> {
  const partial = `${path}.partial`;
  const failed = (error: unknown, bytes?: number) => Promise.reject(writeError(partial, error, bytes));
  const handle: FileHandle = await open(partial, 'w').catch((error) => failed(error));
  const missing = new Map([...plan.places].map(([name, { begin, end }]) => [name, end - begin]));
  let closed = false;
  let unsynced = 0;
  let syncing: Promise<unknown> | undefined;
  let failure: unknown;

  /** Lets the disk begin. A failure is told at the end: the system tells it once. */
  function syncEarly(bytes: number): void {
    unsynced += bytes;
    if (unsynced < syncBytes || syncing) return;
    unsynced = 0;
    syncing = handle
      .datasync()
      .catch((error) => {
        failure ??= error;
      })
      .finally(() => {
        syncing = undefined;
      });
  }

  async function put(bytes: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await handle
        .write(bytes, done, bytes.length - done, position + done)
        .catch((error) => failed(error, bytes.length));
      done += bytesWritten;
    }
  }

  async function abort(): Promise<void> {
    if (closed) return;
    closed = true;
    await syncing;
    await handle.close();
    await rm(partial, { force: true });
  }

  try {
    await put(plan.header, 0);
    await handle.truncate(plan.byteLength).catch((error) => failed(error, plan.byteLength));
  } catch (error) {
    await abort();
    throw error;
  }
  return {
    async write(name, bytes, offset = 0) {
      const place = plan.places.get(name);
      if (!place) throw new FormatError(`${path}: tensor ${name} is not in the plan of this file`);
      const size = place.end - place.begin;
      if (offset + bytes.length > size)
        throw new FormatError(
          `${path}: tensor ${name} has room for ${size} bytes, ${offset + bytes.length} were to be written`,
        );
      await put(bytes, place.begin + offset);
      missing.set(name, (missing.get(name) as number) - bytes.length);
      syncEarly(bytes.length);
    },
    async finish() {
      for (const [name, bytes] of missing)
        if (bytes !== 0) throw new FormatError(`${path}: tensor ${name} is not there completely: ${bytes} bytes lack`);
      await syncing;
      if (failure !== undefined) await failed(failure);
      await handle.datasync().catch((error) => failed(error));
      await handle.close();
      await rename(partial, path).catch((error) => failed(error));
      closed = true;
    },
    abort,
  };
}
