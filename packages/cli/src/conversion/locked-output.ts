import { dirname, resolve } from 'node:path';
import { type FileSystem, lockFile, makeFolders } from '@q/durable-files';

/**
 * Runs the writing code while no other process writes the same output: two of them would share its unfinished files.
 * @param output file or folder; its parent folder is created if absent
 * @throws LockedError naming the other process
 */
export async function lockedOutput<T>(output: string, files: FileSystem, work: () => Promise<T>): Promise<T> {
  const path = resolve(output);
  await makeFolders(dirname(path), { files });
  const lock = await lockFile(`${path}.lock`, output, { files });
  try {
    return await work();
  } finally {
    await lock.release();
  }
}
