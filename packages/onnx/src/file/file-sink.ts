import { createDurableFile, type FileOptions } from '@q/durable-files';

/** A file that is written from its start to its end, and is there as a whole or not at all. */
export interface FileSink {
  readonly path: string;
  /** Bytes so far. */
  readonly length: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Syncs, and gives the file its name. */
  finish(): Promise<void>;
  /** Closes and removes what was written. Nothing happens after `finish`. */
  abort(): Promise<void>;
}

/** Bytes between syncs: the disk works while more is computed, and little is left for it at the end. */
const syncBytes = 8e6;

/** @throws WriteError naming the file */
export async function createFileSink(path: string, options: FileOptions = {}): Promise<FileSink> {
  const file = await createDurableFile(path, options);
  let length = 0;
  let unsynced = 0;
  let syncing: Promise<unknown> | undefined;
  let failure: unknown;

  /** Lets the disk begin. A failure is told at the end: the system tells it once. */
  function syncEarly(bytes: number): void {
    unsynced += bytes;
    if (unsynced < syncBytes || syncing) return;
    unsynced = 0;
    syncing = file
      .sync()
      .catch((error) => {
        failure ??= error;
      })
      .finally(() => {
        syncing = undefined;
      });
  }

  return {
    path,
    get length() {
      return length;
    },
    async write(bytes) {
      await file.write(bytes, length);
      length += bytes.length;
      syncEarly(bytes.length);
    },
    async finish() {
      await syncing;
      if (failure !== undefined) throw failure;
      await file.commit();
    },
    async abort() {
      await syncing;
      await file.abort();
    },
  };
}
