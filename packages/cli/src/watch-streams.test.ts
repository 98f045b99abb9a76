import { spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { watchStreams } from './watch-streams.js';

function watched() {
  const [out, err] = [0, 1].map(() => {
    const written: string[] = [];
    return Object.assign(new EventEmitter(), { written, write: (text: string) => written.push(text) });
  }) as [Stream, Stream];
  const codes: number[] = [];
  watchStreams(out, err, (code) => codes.push(code));
  return { out, err, codes };
}
type Stream = EventEmitter & { readonly written: string[]; write(text: string): number };
const failure = (code: string) => Object.assign(new Error(`write ${code}`), { code });

it('ends without an error when the reader of results goes away', () => {
  const { out, err, codes } = watched();
  out.emit('error', failure('EPIPE'));
  expect([codes, err.written]).toEqual([[0], []]);
});

it('says in a sentence why results cannot be written', () => {
  const { out, err, codes } = watched();
  out.emit('error', failure('ENOSPC'));
  expect(codes).toEqual([1]);
  expect(err.written.join('')).toMatch(/^error: standard output: cannot be written \(ENOSPC\): free space/);
});

it('goes on when nobody reads progress', () => {
  const { err, codes } = watched();
  err.emit('error', failure('EPIPE'));
  expect(codes).toEqual([]);
});

it('a real process finishes its work when the reader of its progress is gone', { timeout: 120_000 }, async () => {
  const bin = fileURLToPath(new URL('bin.ts', import.meta.url));
  const out = await mkdtemp(join(tmpdir(), 'q-streams-'));
  try {
    const child = spawn(
      process.execPath,
      [
        ...['--conditions=@q/source', '--import', 'tsx', bin, 'quantize', demo.model, join(out, 'folder')],
        ...['--method', 'rtn', '--group', '32', '--fit', 'minMax', '--no-eval'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    child.stderr?.destroy();
    const ended = await new Promise((resolve) => child.on('close', (code, signal) => resolve([code, signal])));
    expect(ended).toEqual([0, null]);
    expect(await readdir(join(out, 'folder'))).toContain('q-report.json');
  } finally {
    await rm(out, { recursive: true, force: true });
  }
});
