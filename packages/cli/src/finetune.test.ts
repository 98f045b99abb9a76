import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-finetune-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const at = (name: string) => join(folder, name);
const small = [
  '--samples',
  '8',
  '--length',
  '24',
  '--batch',
  '2',
  '--epochs',
  '1',
  '--windows',
  '4',
  '--engine',
  'wasm',
];
const tune = (model: string, out: string, ...argv: string[]) =>
  runCommand(['finetune', model, at(out), '--text', demo.heldOut, ...small, ...argv]);
const fail = async (...argv: Parameters<typeof tune>) => {
  const { code, err } = await tune(...argv);
  expect(code).toBe(1);
  expect(err).not.toMatch(/unexpected/);
  return err;
};
const perplexity = async (...argv: string[]) => {
  const text = ['--text', demo.heldOut, '--windows', '4', '--length', '24', '--engine', 'wasm', '--json'];
  return JSON.parse((await runCommand(['eval', ...argv, ...text])).out).perplexity as number;
};

describe('q finetune', () => {
  it('qlora writes an adapter that eval takes and quantize merges', async () => {
    const { code, out } = await tune(demo.model, 'adapter', '--rank', '2', '--rate', '0.01', '--json');
    expect(code).toBe(0);
    const report = JSON.parse(out);
    expect(report.files).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'q-report.json']);
    expect((await readdir(at('adapter'))).sort()).toEqual(report.files);
    expect(report.steps).toBe(4);
    const scores = report.evaluation.perplexity;
    expect(Object.keys(scores)).toEqual([
      ...['before', 'with the adapter', 'base alone, quantized'],
      ...['merged into the original weights', 'merged and quantized again'],
    ]);
    for (const score of Object.values(scores)) expect(score).toBeGreaterThan(1);

    const beside = await perplexity(demo.model, '--adapter', at('adapter'));
    const merge = ['--adapter', at('adapter'), '--keep', '*', '--no-eval'];
    expect((await runCommand(['quantize', demo.model, at('merged'), ...merge])).code).toBe(0);
    expect(await perplexity(at('merged'))).toBeCloseTo(beside, 5);
  });

  it('peqa writes the scales of a task over the integers of a quantized model', async () => {
    const quantize = ['--method', 'rtn', '--bits', '4', '--group', '-1', '--no-eval'];
    expect((await runCommand(['quantize', demo.model, at('int4'), ...quantize])).code).toBe(0);
    const before = await readFile(join(at('int4'), 'model.safetensors'));
    const { code, out } = await tune(at('int4'), 'task', '--method', 'peqa', '--json');
    expect(code).toBe(0);
    const { evaluation, taskBytes, files } = JSON.parse(out);
    expect(files).toEqual(['q-task.json', 'task.safetensors', 'q-report.json']);
    expect(taskBytes).toBeLessThan(30_000);
    expect(Object.keys(evaluation.perplexity)).toEqual(['before', 'with the task']);
    expect(await readFile(join(at('int4'), 'model.safetensors'))).toEqual(before);
    expect(await perplexity(at('int4'), '--adapter', at('task'))).not.toBe(await perplexity(at('int4')));

    const other = ['--method', 'rtn', '--bits', '3', '--group', '-1', '--no-eval'];
    expect((await runCommand(['quantize', demo.model, at('int3'), ...other])).code).toBe(0);
    const score = (model: string) => runCommand(['eval', model, '--adapter', at('task'), '--text', demo.heldOut]);
    expect((await score(at('int3'))).err).toMatch(/a task of another model/);
    expect((await score(demo.model)).err).toMatch(/is not quantized/);
  });

  it('goes on after an interruption to the same bytes', async () => {
    const argv = ['--rank', '2', '--epochs', '2', '--no-eval'];
    expect((await tune(demo.model, 'whole', ...argv)).code).toBe(0);
    const stop = new AbortController();
    let stopped = false;
    const poll = setInterval(async () => {
      if (!(await readdir(at('parts')).catch(() => [] as string[])).includes('q-training')) return;
      stopped = true;
      stop.abort();
    }, 1);
    const first = await runCommand(
      ['finetune', demo.model, at('parts'), '--text', demo.heldOut, ...small, ...argv],
      stop.signal,
    );
    clearInterval(poll);
    expect(stopped && first.code).toBe(130);
    const resumed = await tune(demo.model, 'parts', ...argv, '--json');
    expect(JSON.parse(resumed.out).resumed).toBe(true);
    for (const name of ['adapter_config.json', 'adapter_model.safetensors'])
      expect(await readFile(join(at('parts'), name))).toEqual(await readFile(join(at('whole'), name)));
    // Something else in the folder is never written over.
    expect(await fail(demo.model, 'parts')).toMatch(/exists, is not empty/);
  });

  it('says what is wrong and leaves nothing behind', async () => {
    expect(await fail(demo.model, 'x', '--method', 'qlor')).toMatch(/did you mean qlora\? \(qlora, lora, peqa\)/);
    expect(await fail(demo.model, 'x', '--method', 'peqa')).toMatch(/is not quantized: PEQA trains the scales/);
    expect(await fail(demo.model, 'x', '--method', 'peqa', '--rank', '2')).toMatch(/--rank: --method peqa has no/);
    expect(await fail(demo.model, 'x', '--dropout', '1')).toMatch(
      /--dropout 1: a number of at least 0 and below 1 was expected/,
    );
    expect(await fail(demo.model, 'x', '--length', '1000')).toMatch(/longer than the model's 256 positions/);
    expect(await fail(demo.model, 'x', '--memory', '1000')).toMatch(/not even a batch of 1 fits/);
    expect(await fail(demo.model, 'x', '--batch', '8', '--memory', '9000000')).toMatch(/a batch of \d fits/);
    expect(await fail(demo.model, 'x', '--samples', '1')).toMatch(/needs as many; there are 1/);
    expect(await fail(demo.model, 'x', '--rate', '0.999', '--rank', '64', '--alpha', '1e30')).toMatch(
      /not finite|the loss is (NaN|Infinity) at step \d/,
    );
    expect((await runCommand(['finetune', demo.model, at('x')])).err).toMatch(/--text FILE is needed/);
    expect((await runCommand(['eval', demo.model, '--adapter', folder, '--text', demo.heldOut])).err).toMatch(
      /has neither adapter_config.json nor q-task.json/,
    );
    await expect(readdir(at('x'))).rejects.toThrow();
  });
});
