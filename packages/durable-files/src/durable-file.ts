import { dirname } from 'node:path';
import type { FileOptions, FileSystem, OpenFile } from './file-system.js';
import { nodeFiles } from './node-files.js';
import { writeError } from './write-error.js';

/** Name of a file until it is completely on the disk. */
export const partialName = (path: string) => `${path}.partial`;

/**
 * A file that is either complete or absent. It is written under a temporary name (`*.partial`); `commit` syncs it,
 * gives it its final name, and syncs the folder. A journal may refer to it only after that.
 */
export interface DurableFile {
  /** The final name. */
  readonly path: string;
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** @returns the number of bytes read: less than requested at the end of the file */
  read(into: Uint8Array, position: number): Promise<number>;
  truncate(bytes: number): Promise<void>;
  size(): Promise<number>;
  sync(): Promise<void>;
  /** Syncs, closes, renames (replacing an existing file), and syncs the folder. */
  commit(): Promise<void>;
  /** Closes; the temporary file stays for a later run. Does nothing after `commit`. */
  close(): Promise<void>;
  /** Closes and removes the temporary file. Does nothing after `commit`. */
  abort(): Promise<void>;
}

/**
 * Begins a file; a temporary file of an earlier run is emptied.
 * @throws WriteError naming the file
 */
export async function createDurableFile(path: string, { files = nodeFiles }: FileOptions = {}): Promise<DurableFile> {
  const partial = partialName(path);
  return durableFile(path, await told(partial, files.open(partial, 'create')), files);
}

/**
 * Opens a file of an earlier run to continue it: the temporary file, or the finished one, which gets its temporary name
 * again first. Undefined when neither exists.
 * @throws WriteError naming the file
 */
export async function reopenDurableFile(
  path: string,
  { files = nodeFiles }: FileOptions = {},
): Promise<DurableFile | undefined> {
  const partial = partialName(path);
  if (!(await told(partial, files.info(partial)))) {
    if (!(await told(path, files.info(path)))) return undefined;
    await told(path, files.rename(path, partial));
    await told(path, files.syncFolder(dirname(path)));
  }
  return durableFile(path, await told(partial, files.open(partial, 'update')), files);
}

function durableFile(path: string, file: OpenFile, files: FileSystem): DurableFile {
  const partial = partialName(path);
  let open = true;
  const close = async () => {
    if (!open) return;
    open = false;
    await file.close();
  };
  let committed = false;
  return {
    path,
    write: (bytes, position) => told(partial, file.write(bytes, position), bytes.length),
    read: (into, position) => file.read(into, position),
    truncate: (bytes) => told(partial, file.truncate(bytes), bytes),
    size: () => file.size(),
    sync: () => told(partial, file.sync()),
    async commit() {
      await told(partial, file.sync());
      await told(partial, close());
      await told(path, files.rename(partial, path));
      committed = true;
      await told(path, files.syncFolder(dirname(path)));
    },
    close,
    async abort() {
      await close();
      if (!committed) await told(partial, files.remove(partial));
    },
  };
}

/** @throws WriteError instead of the system's error */
async function told<T>(path: string, action: Promise<T>, bytes?: number): Promise<T> {
  try {
    return await action;
  } catch (error) {
    throw writeError(path, error, bytes);
  }
}
