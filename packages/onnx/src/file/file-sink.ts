import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { writeError } from '@q/safetensors';

/** A file that is written from its start to its end. */
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

/**
 * Opens a file under a temporary name (`*.partial`), so that there is never half a file under the name itself.
 * @throws WriteError naming the file
 */
export async function createFileSink(path: string): Promise<FileSink> {
  const partial = `${path}.partial`;
  const failed = (error: unknown, bytes?: number) => Promise.reject(writeError(partial, error, bytes));
  const handle: FileHandle = await open(partial, 'w').catch((error) => failed(error));
  let length = 0;
  let closed = false;
  return {
    path,
    get length() {
      return length;
    },
    async write(bytes) {
      let done = 0;
      while (done < bytes.length) {
        const { bytesWritten } = await handle
          .write(bytes, done, bytes.length - done, length + done)
          .catch((error) => failed(error, bytes.length));
        done += bytesWritten;
      }
      length += bytes.length;
    },
    async finish() {
      await handle.datasync().catch((error) => failed(error));
      await handle.close();
      closed = true;
      await rename(partial, path).catch((error) => failed(error));
    },
    async abort() {
      if (closed) return;
      closed = true;
      await handle.close();
      await rm(partial, { force: true });
    },
  };
}
