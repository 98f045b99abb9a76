import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LockedError, nodeFiles } from '@q/durable-files';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { main } from '../main.js';
import { demo } from '../testing/demo.js';
import { runCommand } from '../testing/run-command.js';
import { lockedOutput } from './locked-output.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-locked-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('lets one at a time write an output, whatever a folder is called', async () => {
  const out = join(folder, 'deep', 'out');
  await lockedOutput(`${out}/`, nodeFiles, async () => {
    await expect(lockedOutput(out, nodeFiles, async () => 1)).rejects.toThrow(LockedError);
    await expect(lockedOutput(join(folder, 'other'), nodeFiles, async () => 1)).resolves.toBe(1);
  });
  await expect(lockedOutput(out, nodeFiles, async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await readdir(join(folder, 'deep'))).toEqual([]);
});

/** Runs a command that is interrupted when it first speaks of a task. */
async function interruptedAt(task: string, argv: readonly string[]): Promise<{ code: number; err: string }> {
  const controller = new AbortController();
  let err = '';
  const write = (text: string) => {
    err += text;
    if (text.startsWith(task)) controller.abort();
  };
  return { code: await main(argv, { out: { write: () => {} }, err: { write } }, controller.signal), err };
}

const importance = ['--calib', demo.calibration, '--samples', '2', '--length', '16'];
describe.each([
  ['convert to onnx', 'out', 'write', (out: string) => ['convert', demo.model, out, '--to', 'onnx', '--type', 'q8']],
  [
    'convert to gguf',
    'out.gguf',
    'convert',
    (out: string) => ['convert', demo.model, out, '--to', 'gguf', '--type', 'q8_0'],
  ],
  ['imatrix', 'out.gguf', 'calibrate', (out: string) => ['imatrix', demo.model, out, ...importance]],
  ['cast', 'out', 'cast', (out: string) => ['cast', demo.model, out, '--dtype', 'f32']],
])('%s', (_name, file, task, argv) => {
  it('leaves nothing when it is interrupted, and is done by the same command', async () => {
    const out = join(folder, file);
    const { code, err } = await interruptedAt(task, argv(out));
    expect(err).toMatch(/Interrupted\. (Nothing|No incomplete model) was left behind/);
    expect(code).toBe(130);
    expect(await readdir(folder)).toEqual([]);
    expect((await runCommand(argv(out))).code).toBe(0);
    expect(await readdir(folder)).toEqual([file]);
  });

  it('is refused while another process writes there', async () => {
    const out = join(folder, file);
    const both = await Promise.all([runCommand(argv(out)), runCommand(argv(out))]);
    expect(both.map(({ code }) => code).sort()).toEqual([0, 1]);
    const { err = '' } = both.find(({ code }) => code === 1) ?? {};
    expect(err).toMatch(/is writing there|is there already|exists(,| and) is not empty/);
  });
});

it('begins an ONNX folder anew in which a conversion was killed', async () => {
  const out = join(folder, 'out');
  await mkdir(join(out, 'onnx'), { recursive: true });
  await writeFile(join(out, 'onnx', 'model_quantized.onnx.partial'), 'half');
  const convert = ['convert', demo.model, out, '--to', 'onnx', '--type', 'q8'];
  expect((await runCommand(convert)).code).toBe(0);
  expect(await readdir(join(out, 'onnx'))).toEqual(['model_quantized.onnx']);
  await rm(join(out, 'config.json'));
  const { code, err } = await runCommand(convert);
  expect(code).toBe(1);
  expect(err).toContain('choose another output folder');
});

it('says which argument is empty', async () => {
  const { code, err } = await runCommand(['quantize', demo.model, '']);
  expect(code).toBe(1);
  expect(err).toContain('<out>: is empty: folder to write was expected');
});

it('writes no study into a folder that holds something else', async () => {
  await writeFile(join(folder, 'config.json'), '{}');
  const study = ['study', 'local-global', demo.model, '--data', demo.calibration, '--quick'];
  const [into, onto] = await Promise.all(
    [folder, join(folder, 'config.json')].map((out) => runCommand([...study, out])),
  );
  expect([into?.code, onto?.code]).toEqual([1, 1]);
  expect(into?.err).toContain("exists and is not a study's folder (config.json is in it)");
  expect(onto?.err).toContain('is a file; an output folder was expected');
  expect(await readdir(folder)).toEqual(['config.json']);
});
