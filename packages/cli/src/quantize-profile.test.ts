import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunReport } from '@q/pipeline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-profile-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('--profile says where the time goes, on the terminal, in the report and on its page', async () => {
  const out = join(folder, 'out');
  const texts = ['--calib', demo.heldOut, '--samples', '4', '--length', '32', '--windows', '2'];
  const { code, out: printed } = await runCommand([
    'quantize',
    demo.model,
    out,
    ...texts,
    '--engine',
    'wasm',
    '--profile',
  ]);
  expect(code).toBe(0);
  expect(printed).toMatch(/stage +seconds +share +calls +GFLOP +GFLOP\/s +of the peak/);
  expect(printed).toMatch(/a product of two matrices of 1024 here: by the kernels \d+ GFLOP\/s, by the engine \d+/);
  const { profile, seconds, layers } = JSON.parse(await readFile(join(out, 'q-report.json'), 'utf8')) as RunReport;
  if (!profile) throw new Error('the report has no profile');
  const times = new Map(profile.stages.map((stage) => [stage.stage, stage]));
  for (const stage of ['read', 'forward', 'statistic hessian', 'factor', 'retarget', 'fit', 'sweep', 'refine', 'guard'])
    expect(times.get(stage)?.calls, stage).toBeGreaterThan(0);
  expect(times.get('guard')?.calls).toBe(layers.length);
  expect(times.get('evaluate')?.operations).toBeGreaterThan(0);
  const claimed = profile.stages.reduce((sum, stage) => sum + stage.seconds, 0);
  expect(claimed + profile.otherSeconds).toBeGreaterThan(seconds);
  expect(await readFile(join(out, 'q-report.html'), 'utf8')).toContain('<h2>Time</h2>');
}, 60_000);
