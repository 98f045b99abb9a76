import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { crashStates, type Survivors } from './crash-states.js';
import { createDurableFile, reopenDurableFile } from './durable-file.js';
import { nodeFiles } from './node-files.js';
import { dyingFiles, fullFiles, recordingFiles } from './observed-files.js';
import { WriteError } from './write-error.js';
import { copyFileDurably, recordOf, writeFileDurably } from './written-file.js';

let folder: string;
const at = (name: string) => join(folder, name);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-durable-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);

describe('a durable file', () => {
  it('is there with its old or its new content, wherever the writing dies', async () => {
    await writeFile(at('a'), 'old');
    for (let dies = 0; ; dies++) {
      let died = false;
      await writeFileDurably(at('a'), 'new!', { files: dyingFiles(nodeFiles, dies) }).catch((error) => {
        expect(error).toBeInstanceOf(WriteError);
        died = true;
      });
      const found = await readFile(at('a'), 'utf8');
      expect(['old', 'new!']).toContain(found);
      if (!died) {
        expect(found).toBe('new!');
        break;
      }
      await writeFile(at('a'), 'old');
    }
  });

  it.each<Survivors>(['kill', 'powerCut', 'namesFirst'])('is whole or absent after a crash (%s)', async (survivors) => {
    const { files, operations } = recordingFiles(nodeFiles);
    await writeFileDurably(at('a'), 'first', { files });
    await writeFileDurably(at('a'), 'second', { files });
    const states = [...crashStates(operations, survivors)].map((disk) => text(disk.get(at('a'))));
    expect(new Set(states)).toEqual(new Set(['', 'first', 'second']));
    expect(states.at(-1)).toBe('second');
    // The order of what is found never goes back.
    expect([...states].sort((a, b) => ['', 'first', 'second'].indexOf(a) - ['', 'first', 'second'].indexOf(b))).toEqual(
      states,
    );
  });

  it('leaves nothing on a full disk, says so, and keeps what was there', async () => {
    await writeFile(at('a'), 'old');
    for (const fullAt of [0, 1, 2])
      await expect(writeFileDurably(at('a'), 'new', { files: fullFiles(nodeFiles, fullAt) })).rejects.toThrow(
        /a\.partial: no space left on the disk/,
      );
    expect(await readdir(folder)).toEqual(['a']);
    expect(await readFile(at('a'), 'utf8')).toBe('old');
  });

  it('goes on in what was left, also when the last thing was its rename', async () => {
    const first = await createDurableFile(at('a'));
    await first.write(Uint8Array.of(1, 2, 3), 0);
    await first.close();
    const second = await reopenDurableFile(at('a'));
    await second?.write(Uint8Array.of(9), 1);
    await second?.commit();
    expect([...(await readFile(at('a')))]).toEqual([1, 9, 3]);
    const third = await reopenDurableFile(at('a'));
    expect(await readdir(folder)).toEqual(['a.partial']);
    await third?.commit();
    expect(await readdir(folder)).toEqual(['a']);
    expect(await reopenDurableFile(at('b'))).toBeUndefined();
  });

  it('copies with size and sum', async () => {
    await writeFile(at('a'), 'abc');
    // FIPS 180-2, appendix B.1.
    const sum = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
    expect(await copyFileDurably(at('a'), at('b'))).toEqual({ bytes: 3, sum });
    expect(await recordOf(at('b'))).toEqual({ bytes: 3, sum });
    expect(await recordOf(at('c'))).toBeUndefined();
    await expect(copyFileDurably(at('c'), at('d'))).rejects.toThrow(/ENOENT/);
    expect(await readdir(folder)).toEqual(['a', 'b']);
  });
});
