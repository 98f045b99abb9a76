/** Trainings that several processes share: real ones, as a user starts them. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { demo } from './testing/demo.js';

const bin = fileURLToPath(new URL('bin.ts', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-workers-test-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function quantize(out: string, more: readonly string[], environment: Record<string, string> = {}) {
  const child = spawn(
    process.execPath,
    [
      ...['--conditions=@q/source', '--import', 'tsx', bin, 'quantize', demo.model, join(folder, out)],
      ...['--method', 'qaft', '--bits', '2', '--group', '64', '--layout', 'plain', '--epochs', '1', '--batch', '2'],
      ...[
        '--refine-rounds',
        '0',
        '--samples',
        '4',
        '--length',
        '16',
        '--calib',
        demo.calibration,
        '--no-eval',
        ...more,
      ],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...environment } },
  );
  let err = '';
  child.stderr.on('data', (data) => {
    err += data;
  });
  const ended = new Promise<{ code: number | null; err: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, err })),
  );
  return { child, ended };
}

const hashOf = async (out: string) =>
  createHash('sha256')
    .update(await readFile(join(folder, out, 'model.safetensors')))
    .digest('hex');
const figuresOf = async (out: string) =>
  JSON.parse(await readFile(join(folder, out, 'q-report.json'), 'utf8')).layers[0].figures;

/** A TCP port that nobody uses. */
const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

it('two workers started by the command give the bytes of two workers that meet at an address', async () => {
  const local = await quantize('local', ['--workers', '2', '--compress', 'int8']).ended;
  expect(local).toMatchObject({ code: 0 });
  const { sentBytes, exactGradientBytes } = await figuresOf('local');
  expect(exactGradientBytes / sentBytes).toBeGreaterThan(3);

  const place = `127.0.0.1:${await freePort()}`;
  const secret = { Q_WORKERS_TOKEN: 'a secret' };
  const shared = ['--workers', '2', '--compress', 'int8'];
  const zero = quantize('remote', [...shared, '--listen', place], secret);
  const one = quantize('unused', [...shared, '--join', place], secret);
  expect(await one.ended).toMatchObject({ code: 0 });
  expect(await zero.ended).toMatchObject({ code: 0 });
  expect(await hashOf('remote')).toBe(await hashOf('local'));
  await expect(access(join(folder, 'unused'))).rejects.toThrow();
}, 240_000);

it('a worker of another run is turned away, and one that is not there is counted', async () => {
  const place = `127.0.0.1:${await freePort()}`;
  const secret = { Q_WORKERS_TOKEN: 'a secret' };
  const zero = quantize('refused', ['--workers', '2', '--listen', place], secret);
  const other = quantize('unused', ['--workers', '2', '--compress', 'sign', '--join', place], secret);
  expect((await other.ended).err).toMatch(/rejected this process: it belongs to another run/);
  zero.child.kill('SIGKILL');
  const alone = await quantize('secretless', ['--workers', '2', '--listen', place]).ended;
  expect(alone.err).toMatch(/set Q_WORKERS_TOKEN to a secret/);
}, 120_000);
