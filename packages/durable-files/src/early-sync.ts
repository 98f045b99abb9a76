import type { DurableFile } from './durable-file.js';

/** Bytes between syncs: the disk writes while the run computes, so the last sync is short. */
const syncBytes = 8e6;

/** Syncs a file while it is written, one sync at a time, in parallel with the writes. */
export interface EarlySync {
  /** Call it after each write, with the number of bytes. */
  wrote(bytes: number): void;
  /**
   * Waits for the current sync. Rejects with the first failure: the system reports it only once, and `commit` would not
   * see it.
   */
  finish(): Promise<void>;
  /** Waits for the current sync, whatever its result, so the file can be closed. */
  idle(): Promise<void>;
}

/** For writers of large files; a small file is synced by `commit` alone. */
export function createEarlySync(file: Pick<DurableFile, 'sync'>): EarlySync {
  let unsynced = 0;
  let syncing: Promise<void> | undefined;
  let failure: unknown;
  return {
    wrote(bytes) {
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
    },
    async finish() {
      await syncing;
      if (failure !== undefined) throw failure;
    },
    async idle() {
      await syncing;
    },
  };
}
