import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, rmdir, stat, statfs } from 'node:fs/promises';
import type { FileSystem, OpenFile, OpenMode } from './file-system.js';

const flags: Readonly<Record<OpenMode, string>> = { create: 'w+', exclusive: 'wx+', update: 'r+', read: 'r' };

/** Error codes of systems that cannot open or sync a folder; these systems keep names without a sync. */
const noFolderSync = new Set(['EISDIR', 'EPERM', 'EACCES', 'EINVAL', 'ENOTSUP', 'ENOSYS', 'EBADF']);

/** The file system of the machine, through Node. */
export const nodeFiles: FileSystem = {
  open: async (path, mode) => openFile(await open(path, flags[mode])),
  rename,
  remove: (path) => rm(path, { force: true }),
  makeFolder: async (path) => {
    await mkdir(path);
  },
  removeFolder: (path) => rmdir(path),
  async syncFolder(path) {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'r');
      await handle.sync();
    } catch (error) {
      if (!noFolderSync.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    } finally {
      await handle?.close();
    }
  },
  list: (path) =>
    absent(
      readdir(path).then((names) => names.sort()),
      ['ENOENT', 'ENOTDIR'],
    ),
  info: (path) =>
    absent(
      stat(path).then((info) => ({ bytes: info.size, isFolder: info.isDirectory() })),
      ['ENOENT', 'ENOTDIR'],
    ),
  readFile: (path) => absent(readFile(path), ['ENOENT', 'ENOTDIR']),
  async freeBytes(folder) {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
};

async function absent<T>(promise: Promise<T>, codes: readonly string[]): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (codes.includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

function openFile(handle: FileHandle): OpenFile {
  return {
    async write(bytes, position) {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
        done += bytesWritten;
      }
    },
    async read(into, position) {
      let done = 0;
      while (done < into.length) {
        const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done;
    },
    truncate: (bytes) => handle.truncate(bytes),
    sync: () => handle.datasync(),
    size: async () => (await handle.stat()).size,
    close: () => handle.close(),
  };
}
