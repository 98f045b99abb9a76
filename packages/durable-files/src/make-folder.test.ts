import { mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makeFolders } from './make-folder.js';
import { nodeFiles } from './node-files.js';
import { WriteError } from './write-error.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-folders-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('makes folders that another process makes at the same time', async () => {
  const path = join(folder, 'a', 'b', 'c');
  await Promise.all(Array.from({ length: 8 }, () => makeFolders(path)));
  expect(await readdir(join(folder, 'a', 'b'))).toEqual(['c']);
  let late = true;
  const files = {
    ...nodeFiles,
    // Made by the other one between the question and the answer.
    async info(asked: string) {
      if (!late || asked !== path) return nodeFiles.info(asked);
      late = false;
      return undefined;
    },
  };
  await makeFolders(path, { files });
  expect(late).toBe(false);
});

it('refuses a name that is something else', async () => {
  await symlink(join(folder, 'nowhere'), join(folder, 'link'));
  await expect(makeFolders(join(folder, 'link'))).rejects.toThrow(
    /link: the folder cannot be made \(EEXIST\): choose another/,
  );
  await expect(makeFolders(join(folder, 'link'))).rejects.toThrow(WriteError);
});
