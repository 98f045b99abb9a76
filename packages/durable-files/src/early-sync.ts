import type { DurableFile } from './durable-file.js';

/** Bytes between syncs: the disk works while more is computed, and little is left for it at the end. */
const syncBytes = 8e6;

/** Syncs a file while it is written, one sync at a time, beside the writes. */
export interface EarlySync {
  /** To be called after each write, with its bytes. */
  wrote(bytes: number): void;
  /** Waits for the sync that runs. Rejects with the first failure: the system tells it once, and `commit` would not see it. */
  finish(): Promise<void>;
  /** Waits for the sync that runs, whatever its outcome: a file may be closed afterwards. */
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
