import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LockedError, lockFile } from './lock-file.js';
import { nodeFiles } from './node-files.js';
import { dyingFiles } from './observed-files.js';
import { isRunning, thisProcess } from './running-process.js';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-lock-'));
  path = join(folder, 'lock.json');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const lock = () => lockFile(path, 'the folder out');

it('is held by one, names the holder, and is free again after that', async () => {
  const first = await lock();
  await expect(lock()).rejects.toThrow(
    new RegExp(`the folder out: process ${process.pid} on ${hostname()} is writing there: wait until it has ended`),
  );
  await first.release();
  expect(await readdir(folder)).toEqual([]);
  await (await lock()).release();
});

it('is refused while another process holds it, and taken over when that has ended', async () => {
  const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  const ended = new Promise((resolve) => other.on('close', resolve));
  const started = (await readFile(`/proc/${other.pid}/stat`, 'utf8').catch(() => '')).split(' ')[21] ?? '';
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
  const owner = { host: hostname(), pid: other.pid as number, started: started && `${boot} ${started}` };
  await writeFile(path, JSON.stringify(owner));
  try {
    expect(await isRunning(owner)).toBe(true);
    await expect(lock()).rejects.toThrow(`process ${other.pid} on`);
  } finally {
    other.kill('SIGKILL');
    await ended;
  }
  expect(await isRunning(owner)).toBe(false);
  await (await lock()).release();
});

it('is taken over when the number of its process is now that of another one', async () => {
  const { host, started } = await thisProcess();
  if (!started) return console.log('not checked: this system does not tell when a process has started');
  await writeFile(path, JSON.stringify({ host, pid: process.ppid, started: 'another boot 1' }));
  await (await lock()).release();
});

it('of another machine is never taken over', async () => {
  await writeFile(path, JSON.stringify({ host: 'elsewhere.invalid', pid: 1, started: '' }));
  await expect(lock()).rejects.toThrow(/process 1 on elsewhere\.invalid .*remove .*lock\.json/);
});

it.each([
  ['', 'an empty file'],
  ['{', 'half a line'],
  ['null', 'null'],
])('takes over %j', async (text) => {
  await writeFile(path, text);
  await (await lock()).release();
  expect(await readdir(folder)).toEqual([]);
});

it('of a run that could not even remove it does not lock out the same process', async () => {
  const dead = await lockFile(path, 'out', { files: dyingFiles(nodeFiles, 2) });
  await expect(dead.release()).rejects.toThrow(/died here/);
  await (await lock()).release();
});

it('removes what a process left that died while it took the lock over', async () => {
  await writeFile(path, JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1, started: '' }));
  // Before 0: creating the lock, which is there; 1: renaming the stale one; 2: removing it under its other name.
  await expect(lockFile(path, 'out', { files: dyingFiles(nodeFiles, 2) })).rejects.toThrow(/died here/);
  expect((await readdir(folder)).length).toBe(1);
  await writeFile(join(folder, 'lock.json.txt'), 'of the user');
  await (await lock()).release();
  expect(await readdir(folder)).toEqual(['lock.json.txt']);
});

it('goes to one of many that want it at once', async () => {
  await writeFile(path, JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1, started: '' }));
  const results = await Promise.allSettled(Array.from({ length: 8 }, lock));
  const won = results.filter((result) => result.status === 'fulfilled');
  expect(won.length).toBe(1);
  for (const result of results) if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(LockedError);
});
