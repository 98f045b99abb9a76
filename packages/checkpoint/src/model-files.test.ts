import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '@q/core';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { copyModelFile, folderFiles } from './model-files.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('tells a file that is absent from one that cannot be read', async () => {
  const files = folderFiles(folder);
  expect(await files.text('tokenizer.json')).toBeUndefined();
  await mkdir(join(folder, 'tokenizer.json'));
  await expect(files.text('tokenizer.json')).rejects.toThrow(FormatError);
  await expect(files.json('tokenizer.json')).rejects.toThrow(/tokenizer\.json: cannot be read \(EISDIR\)/);
});

it('says which file to copy is gone, and leaves no half of it', async () => {
  await writeFile(join(folder, 'a.json'), '{}');
  const files = folderFiles(folder);
  await copyModelFile(files, 'a.json', join(folder, 'b.json'));
  expect(await files.text('b.json')).toBe('{}');
  await expect(copyModelFile(files, 'gone.json', join(folder, 'c.json'))).rejects.toThrow(
    /gone\.json: cannot be read \(ENOENT\): it existed when the model was opened/,
  );
  expect(await files.text('c.json')).toBeUndefined();
});

it('reads JSON as Python writes it, whatever the file', async () => {
  await writeFile(join(folder, 'config.json'), '{"time_step_limit": [0.0, Infinity], "low": -Infinity, "none": NaN}');
  await writeFile(join(folder, 'modules.json'), '[{"idx": 0}, NaN]');
  await writeFile(join(folder, 'broken.json'), '{"a": 1,\n "b": Infinite}');
  const files = folderFiles(folder);
  expect(await files.json('config.json')).toEqual({
    time_step_limit: [0, Number.POSITIVE_INFINITY],
    low: Number.NEGATIVE_INFINITY,
    none: Number.NaN,
  });
  expect(await files.json('modules.json')).toEqual([{ idx: 0 }, Number.NaN]);
  await expect(files.json('broken.json')).rejects.toThrow(/broken\.json: is not valid JSON: line 2, column 7/);
});
