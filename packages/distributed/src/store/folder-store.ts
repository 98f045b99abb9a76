import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { writeError } from '@q/durable-files';
import { type Store, StoreError } from './store.js';

/** Temporary errors of network file systems. */
const passingCodes = new Set(['EIO', 'ESTALE', 'ETIMEDOUT', 'EAGAIN', 'EBUSY', 'ENETUNREACH', 'EHOSTDOWN', 'EMFILE']);

/** Files of killed processes are removed after this time: no object takes a day to write. */
const dayMilliseconds = 86_400_000;

/** Folder of objects that are not complete yet. */
const partialFolder = 'partial';

/**
 * A folder that all machines can read, under any path. An object is written under a temporary name, synced, and gets
 * its final name by a link, which fails when the name is taken: the first one stays.
 */
export function folderStore(folder: string): Store {
  const root = resolve(folder);
  const pathOf = (name: string) => {
    const path = resolve(root, name);
    if (!path.startsWith(`${root}/`) && !path.startsWith(`${root}\\`))
      throw new StoreError(`${name}: is outside of the store ${root}`);
    return path;
  };
  const told = (path: string, error: unknown): StoreError => {
    const { code = '' } = error as NodeJS.ErrnoException;
    return new StoreError(`${path}: the store does not answer (${code || error})`, passingCodes.has(code));
  };
  return {
    name: root,
    async read(name, begin = 0, end) {
      const path = pathOf(name);
      const file = await open(path, 'r').catch((error) => {
        if (error.code === 'ENOENT') return undefined;
        throw told(path, error);
      });
      if (!file) return undefined;
      try {
        const stop = end ?? (await file.stat()).size;
        const bytes = new Uint8Array(stop - begin);
        for (let done = 0; done < bytes.length; ) {
          const { bytesRead } = await file.read(bytes, done, bytes.length - done, begin + done);
          if (bytesRead === 0) throw new StoreError(`${path}: ends at byte ${begin + done}, ${stop} were expected`);
          done += bytesRead;
        }
        return bytes;
      } catch (error) {
        throw error instanceof StoreError ? error : told(path, error);
      } finally {
        await file.close();
      }
    },
    async has(name) {
      const path = pathOf(name);
      return stat(path).then(
        () => true,
        (error) => {
          if (error.code === 'ENOENT') return false;
          throw told(path, error);
        },
      );
    },
    async publish(name, bytes) {
      const path = pathOf(name);
      const partial = join(root, partialFolder, randomBytes(12).toString('hex'));
      try {
        await makeInside(root, dirname(partial));
        await makeInside(root, dirname(path));
        const file = await open(partial, 'wx');
        try {
          await file.writeFile(bytes);
          await file.sync();
        } finally {
          await file.close();
        }
        return await giveName(partial, path);
      } catch (error) {
        if (error instanceof StoreError) throw error;
        const { code = '' } = error as NodeJS.ErrnoException;
        throw new StoreError(writeError(path, error, bytes.length).message, passingCodes.has(code));
      } finally {
        await rm(partial, { force: true }).catch(() => {});
      }
    },
    async remove(name) {
      const path = pathOf(name);
      await rm(path, { force: true }).catch((error) => {
        throw told(path, error);
      });
    },
  };
}

/**
 * Makes a folder inside the store, and never the store itself: a late result must not recreate a store that was removed
 * at the end of a run.
 */
async function makeInside(root: string, folder: string): Promise<void> {
  if (folder === root) return;
  await mkdir(folder).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') return;
    if (error.code !== 'ENOENT' || dirname(folder) === root)
      throw error.code === 'ENOENT' ? new StoreError(`${root}: the store does not exist`) : error;
    await makeInside(root, dirname(folder));
    await makeInside(root, folder);
  });
}

async function giveName(partial: string, path: string): Promise<boolean> {
  try {
    await link(partial, path);
    return true;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code)) throw error;
  }
  // A file system without links. Two processes that rename at the same time write the same bytes, since the name is a
  // checksum of the inputs.
  const there = await stat(path).catch(() => undefined);
  if (!there) await rename(partial, path);
  return !there;
}

/** Makes the folder of a store. */
export async function makeFolderStore(folder: string): Promise<void> {
  await mkdir(resolve(folder), { recursive: true }).catch((error) => {
    throw new StoreError(`${folder}: the folder of the store cannot be made (${error.code ?? error.message})`);
  });
}

/** Removes incomplete files of killed processes in a folder store that are older than a day. */
export async function sweepFolderStore(folder: string): Promise<void> {
  const partials = join(resolve(folder), partialFolder);
  for (const name of await readdir(partials).catch(() => [])) {
    const info = await stat(join(partials, name)).catch(() => undefined);
    if (info && Date.now() - info.mtimeMs > dayMilliseconds) await rm(join(partials, name), { force: true });
  }
}
