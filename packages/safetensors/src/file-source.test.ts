import { mkdtemp, open, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '@q/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFile } from './file-source.js';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-source-'));
  path = join(folder, 'model.safetensors');
  await writeFile(
    path,
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );
  // Some time ago: the clock of a file system has coarse steps.
  await utimes(path, 1e9, 1e9);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('a file that is read', () => {
  it('gives its ranges, also in memory that is handed in', async () => {
    const source = await openFile(path);
    expect([...(await source.slice(3, 6))]).toEqual([3, 4, 5]);
    const out = new Uint8Array(8);
    const view = await source.slice(90, 95, out);
    expect(view.buffer).toBe(out.buffer);
    expect([...view]).toEqual([90, 91, 92, 93, 94]);
    await source.close();
  });

  it('is refused from the first write into it on, at the same size too', async () => {
    const source = await openFile(path);
    await source.slice(0, 50);
    const writer = await open(path, 'r+');
    await writer.write(Uint8Array.of(255), 0, 1, 99);
    await writer.close();
    await expect(source.slice(50, 60)).rejects.toThrow(FormatError);
    await expect(source.slice(50, 60)).rejects.toThrow(/model\.safetensors: was written to while it was read/);
    await source.close();
  });

  it('is refused when it was truncated', async () => {
    const source = await openFile(path);
    await truncate(path, 60);
    await expect(source.slice(50, 70)).rejects.toThrow(/truncated/);
    await source.close();
  });

  it('stays what it was when another file takes its name', async () => {
    const source = await openFile(path);
    await writeFile(join(folder, 'other'), new Uint8Array(100));
    await rename(join(folder, 'other'), path);
    expect([...(await source.slice(97, 100))]).toEqual([97, 98, 99]);
    await source.close();
  });
});
