import { dirname } from 'node:path';
import type { FileOptions } from './file-system.js';
import { nodeFiles } from './node-files.js';
import { WriteError, writeError } from './write-error.js';

/**
 * Makes a folder and its parents; existing ones stay. Node's own `recursive` never returns when an existing parent
 * answers ENOENT (/proc).
 * @throws WriteError naming the folder
 */
export async function makeFolders(path: string, options: FileOptions = {}): Promise<void> {
  const { files = nodeFiles } = options;
  if ((await files.info(path))?.isFolder) return;
  const parent = dirname(path);
  if (parent !== path && !(await files.info(parent))) await makeFolders(parent, options);
  await files.makeFolder(path).catch(async (error: NodeJS.ErrnoException) => {
    // Another process has made it meanwhile.
    if (error.code === 'EEXIST' && (await files.info(path))?.isFolder) return;
    throw folderError(path, error);
  });
  await files.syncFolder(parent);
}

function folderError(path: string, error: NodeJS.ErrnoException): Error {
  if (error.code === undefined) return error;
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT') return writeError(path, error);
  return new WriteError(`${path}: the folder cannot be made (${error.code}): choose another output folder`);
}

/** Removes a folder with its files and folders; does nothing when there is none. */
export async function removeFolders(path: string, options: FileOptions = {}): Promise<void> {
  const { files = nodeFiles } = options;
  const names = await files.list(path);
  if (!names) return;
  for (const name of names) {
    const inside = `${path}/${name}`;
    if ((await files.info(inside))?.isFolder) await removeFolders(inside, options);
    else await files.remove(inside);
  }
  await files.removeFolder(path);
}
