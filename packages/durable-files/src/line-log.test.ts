import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '@q/core';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openLineLog, readLineLog } from './line-log.js';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-log-'));
  path = join(folder, 'log.jsonl');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const lines = [{ unit: 'a', rows: [1, 'ü', { deep: null }] }, { unit: 'b' }];
async function write(): Promise<Buffer> {
  const log = await openLineLog(path, { run: 1 });
  for (const line of lines) await log.append(line);
  await log.close();
  return readFile(path);
}

it('gives back what was appended, and goes on behind it', async () => {
  await write();
  expect(await readLineLog(path)).toMatchObject([{ run: 1 }, ...lines]);
  const again = await openLineLog(path, { run: 2 });
  expect(again.lines).toMatchObject([{ run: 1 }, ...lines]);
  await again.append({ unit: 'c' });
  await again.close();
  expect(await readLineLog(path)).toMatchObject([{ run: 1 }, ...lines, { unit: 'c' }]);
});

it('drops a torn end wherever it is torn, and writes over it', async () => {
  const whole = await write();
  const ends = [...whole.keys()].filter((i) => whole[i] === 10).map((i) => i + 1);
  for (let bytes = 0; bytes < whole.length; bytes++) {
    await writeFile(path, whole.subarray(0, bytes));
    expect((await readLineLog(path)).length).toBe(ends.filter((end) => end <= bytes).length);
  }
  await writeFile(path, Buffer.concat([whole.subarray(0, -5), Buffer.alloc(9)]));
  const log = await openLineLog(path, { run: 1 });
  await log.append({ unit: 'b' });
  await log.close();
  expect(await readLineLog(path)).toMatchObject([{ run: 1 }, ...lines]);
});

it('names the line when any byte before the last line is another one', async () => {
  const whole = await write();
  const last = whole.lastIndexOf(10, whole.length - 2);
  for (let at = 0; at <= last; at++) {
    const damaged = Buffer.from(whole);
    damaged[at] ^= 1;
    await writeFile(path, damaged);
    if (at === last) {
      // The line that it ends is now one with the last line, which counts as torn.
      expect((await readLineLog(path)).length).toBe(1);
      continue;
    }
    await expect(readLineLog(path), `byte ${at}`).rejects.toThrow(
      /log\.jsonl: line [12] is damaged: restore the file, or remove it/,
    );
  }
});

it.each([['\0'.repeat(40)], ['null'], ['{}'], ['[]'], ['{"run":1}'], ['1']])('refuses %j by name', async (text) => {
  await writeFile(path, `${text}\n${text}\n`);
  await expect(openLineLog(path, { run: 1 })).rejects.toThrow(FormatError);
});
