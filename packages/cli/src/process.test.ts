/** What only a real process shows: signals, a kill at any moment, a disk that fills up. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRandom } from '@q/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';

const bin = fileURLToPath(new URL('bin.ts', import.meta.url));
const options = ['--group', '32', '--calib', demo.calibration, '--samples', '8', '--length', '64', '--no-eval'];

let folder: string;
/** What an undisturbed run has made, and how long it took in milliseconds. */
let whole: string;
let took: number;
beforeAll(async () => {
  whole = await mkdtemp(join(tmpdir(), 'q-process-whole-'));
  const began = performance.now();
  const { code, err } = await start(whole).ended;
  took = performance.now() - began;
  if (code !== 0) throw new Error(err);
}, 240_000);
afterAll(() => rm(whole, { recursive: true, force: true }));
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-process-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly err: string;
}

function start(out: string): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(
    process.execPath,
    ['--conditions=@q/source', '--import', 'tsx', bin, 'quantize', demo.model, out, ...options],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let err = '';
  child.stderr?.on('data', (data) => {
    err += data;
  });
  return {
    child,
    ended: new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, err }))),
  };
}

/** Resolves when the journal in `out` has at least `lines` lines, or the process has ended. */
async function journalReaches(out: string, lines: number, child: ChildProcess): Promise<void> {
  const journal = join(out, 'q-journal.jsonl');
  while (child.exitCode === null && child.signalCode === null) {
    if (existsSync(journal) && readFileSync(journal, 'utf8').split('\n').length > lines) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function expectSameFolder(a: string, b: string): Promise<void> {
  const names = (await readdir(a)).sort();
  expect((await readdir(b)).sort()).toEqual(names);
  for (const name of names.filter((file) => !file.startsWith('q-report')))
    expect(await readFile(join(b, name)), name).toEqual(await readFile(join(a, name)));
}

describe('a run', { timeout: 240_000 }, () => {
  it('killed again and again ends in the bytes of an undisturbed one', async () => {
    const parts = join(folder, 'parts');
    for (const lines of [1, 3, 4, 5]) {
      const { child, ended } = start(parts);
      await journalReaches(parts, lines, child);
      child.kill('SIGKILL');
      expect((await ended).signal).toBe('SIGKILL');
      expect(await readdir(parts)).not.toContain('config.json');
    }
    expect(await start(parts).ended).toMatchObject({ code: 0 });
    await expectSameFolder(whole, parts);
  });

  it('killed at random moments, whatever it was doing, is finished by the same command', async () => {
    const random = createRandom(5);
    const parts = join(folder, 'parts');
    for (let kill = 0; kill < 3; kill++) {
      const { child, ended } = start(parts);
      await new Promise((resolve) => setTimeout(resolve, took * (0.4 + 0.6 * random.uniform())));
      child.kill('SIGKILL');
      const { signal, code } = await ended;
      expect(signal === 'SIGKILL' || code === 0).toBe(true);
    }
    expect(await start(parts).ended).toMatchObject({ code: 0 });
    await expectSameFolder(whole, parts);
  });

  it('of another process in the same folder is refused by name', async () => {
    const out = join(folder, 'out');
    const { child, ended } = start(out);
    await journalReaches(out, 1, child);
    // The first run has seconds of work left, and a second process takes as long to start: it waits.
    child.kill('SIGSTOP');
    const second = await start(out).ended;
    child.kill('SIGCONT');
    expect(second.code).toBe(1);
    expect(second.err).toContain(`process ${child.pid} on`);
    expect(await ended).toMatchObject({ code: 0 });
    const third = await start(out).ended;
    expect(third).toMatchObject({ code: 0 });
    expect(third.err).toContain('is finished: nothing was left to do');
  });

  it('interrupted by Ctrl-C exits with 130, says how to go on, and goes on', async () => {
    const out = join(folder, 'out');
    const { child, ended } = start(out);
    await journalReaches(out, 1, child);
    child.kill('SIGINT');
    const { code, err } = await ended;
    expect(code).toBe(130);
    expect(err).toContain('The same command goes on');
    expect(err).not.toContain('    at ');
    expect(await start(out).ended).toMatchObject({ code: 0 });
  });

  it('on a disk without enough space is refused at once; on one that fills up it keeps what is finished and goes on', async () => {
    const disk = join(folder, 'disk');
    spawnSync('mkdir', [disk]);
    const mount = (size: string) => spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', disk]);
    const small = mount('300k');
    if (small.status !== 0) {
      console.log(`full disk not tried: a small disk cannot be mounted here (${small.stderr ?? small.error})`);
      return;
    }
    try {
      const refused = await start(join(disk, 'out')).ended;
      expect(refused.code).toBe(1);
      expect(refused.err).toMatch(/no space left on the disk: \d+ bytes are needed, \d+ are free/);
      expect(await readdir(disk)).toEqual([]);

      expect(spawnSync('mount', ['-o', 'remount,size=1m', disk]).status).toBe(0);
      const out = join(disk, 'out');
      const { child, ended } = start(out);
      // Something is finished by then: what is only copied, or the first block.
      await journalReaches(out, 3, child);
      await writeFile(join(disk, 'filler'), new Uint8Array(2 ** 20)).catch(() => {});
      const filled = await ended;
      expect(filled.code).toBe(1);
      expect(filled.err).toContain('no space left on the disk');
      expect(filled.err).toContain(`Finished work is kept in ${out}`);
      expect(filled.err).not.toContain('    at ');
      expect(await readdir(out)).toContain('q-journal.jsonl');
      await rm(join(disk, 'filler'));
      expect(await start(out).ended).toMatchObject({ code: 0 });
      await expectSameFolder(whole, out);
    } finally {
      spawnSync('umount', [disk]);
    }
  });
});
