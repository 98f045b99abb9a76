import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { StudyReport } from './study/study-report.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-study-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const study = (...more: string[]) =>
  runCommand([
    ...['study', 'local-global', demo.model, join(folder, 'study'), '--quick', '--bits', '2', '--json'],
    ...['--methods', 'rtn,gptq,gptq-end-loss', '--samples', '4', '--length', '64', '--windows', '4', ...more],
  ]);

it('compares methods, scans the loss around the model, writes its reports, and goes on where it stopped', async () => {
  const { code, out, err } = await study('--data', demo.calibration);
  expect([code, code === 0 ? '' : err]).toEqual([0, '']);
  const report = JSON.parse(out) as StudyReport;
  expect(report.results.map(({ job }) => job.method)).toEqual(['rtn', 'gptq', 'gptq-end-loss']);
  const [rtn, gptq, weighted] = report.results;
  // What each of them minimises.
  expect(gptq.layerError).toBeLessThan(0.5 * rtn.layerError);
  expect(weighted.weightedLayerError).toBeLessThan(gptq.weightedLayerError);
  expect(report.landscapes.basin.radius).toBeGreaterThan(0);
  expect(report.landscapes.widths[0].lines.map(({ name }) => name)).toEqual(['random direction', 'rtn', 'gptq']);
  const line = report.landscapes.widths[0].lines.find(({ name }) => name === 'gptq');
  expect(line?.distance).toBeCloseTo(gptq.distance, 4);
  expect((await readdir(join(folder, 'study'))).sort()).toEqual(['runs', 'study.csv', 'study.html', 'study.json']);
  const page = await readFile(join(folder, 'study', 'study.html'), 'utf8');
  expect(page).not.toMatch(/NaN|undefined|<script/);

  // A finished run is not done again: its result is read back as it stands.
  const kept = join(folder, 'study', 'runs', `${rtn.job.id}.json`);
  await writeFile(kept, JSON.stringify({ ...rtn, seconds: 12345 }));
  const again = JSON.parse((await study('--data', demo.calibration)).out) as StudyReport;
  expect(again.results.map(({ nll }) => nll)).toEqual(report.results.map(({ nll }) => nll));
  expect(again.results[0].seconds).toBe(12345);

  // What an interrupted run of another release has left is no obstacle.
  await rm(kept);
  await mkdir(join(folder, 'study', 'runs', rtn.job.id));
  await writeFile(join(folder, 'study', 'runs', rtn.job.id, 'model.safetensors'), 'half of a file');
  const restarted = JSON.parse((await study('--data', demo.calibration)).out) as StudyReport;
  expect(restarted.results.map(({ nll }) => nll)).toEqual(report.results.map(({ nll }) => nll));
  await writeFile(kept, 'not JSON');
  expect((await study('--data', demo.calibration)).err).toMatch(/is not a result of rtn_2b/);
}, 180_000);

it('refuses what it cannot compare before it begins', async () => {
  for (const [more, message] of [
    [[], '--data FILE is needed'],
    [['--data', demo.calibration, '--methods', 'magic'], '--methods magic: is not known'],
    [['--data', demo.calibration, '--bits', '4,x'], '--bits 4,x: whole numbers'],
    [['--data', demo.calibration, '--bits', '12'], 'a study takes 2 to 8 bits'],
    [['--data', demo.heldOut, '--samples', '100000'], 'windows of 64 tokens, expected 100000'],
  ] as const)
    expect((await study(...more)).err).toContain(message);
}, 60_000);
