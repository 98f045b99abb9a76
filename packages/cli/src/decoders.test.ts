import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { awq } from '@q/awq';
import { readU16Windows } from '@q/calib';
import { gptqLayout } from '@q/checkpoint';
import { createContext, f16Scale, perGroup, type Quantizer, scheme, uint4 } from '@q/core';
import { gptq } from '@q/gptq';
import { planRun, runPlan } from '@q/pipeline';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModel } from './open-model.js';
import { builtin } from './registry.js';
import { runCommand } from './testing/run-command.js';
import { tinyDecoders } from './testing/tiny-decoders.js';
import { writeTinyModel } from './testing/tiny-mixture.js';

const four = scheme({ format: uint4, granularity: perGroup(16), zeroPoint: 'integer', scaleStorage: f16Scale });

/** Every decoder through the calibrated methods: planned, calibrated, written, read back, and stopped halfway. */
describe.each(Object.entries(tinyDecoders))('%s', (_, config) => {
  let folder: string;
  let model: string;
  let text: string[];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'q-decoders-'));
    model = join(folder, 'model');
    await writeTinyModel(model, config);
    text = ['--calib', join(model, 'ids.u16'), '--length', '16', '--samples', '24', '--no-eval'];
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const quantize = (name: string, ...options: string[]) =>
    runCommand(['quantize', model, join(folder, name), ...text, '--json', ...options]);
  const divergence = async (name: string): Promise<number> => {
    const against = [
      '--against',
      model,
      '--text',
      join(model, 'ids.u16'),
      '--length',
      '16',
      '--windows',
      '16',
      '--json',
    ];
    const { code, out, err } = await runCommand(['eval', join(folder, name), ...against]);
    expect(code, err).toBe(0);
    return JSON.parse(out).kl;
  };

  // Four bits of random models this small are far from them: what is judged here is that nothing goes wrong.
  it.each([
    ['gptq', ['--method', 'gptq', '--bits', '8', '--group', '16'], 0.01],
    ['awq', ['--method', 'awq', '--group', '16'], 0.3],
    ['smoothquant', ['--method', 'smoothquant'], 0.05],
  ] as const)('%s: every linear is calibrated, and what is written is near', async (name, options, limit) => {
    const { code, out, err } = await quantize(name, ...options);
    expect(code, err).toBe(0);
    const { layers } = JSON.parse(out);
    const source = await openModel(model, builtin);
    const linears = source.model!.blocks.flatMap((block) => block.linears);
    await source.close();
    expect(layers.map(({ module }: { module: string }) => module).toSorted()).toEqual(
      linears.map(({ module }) => module).toSorted(),
    );
    expect(await divergence(name)).toBeLessThan(limit);
  });

  it('goes on where it was stopped, and gives the same bytes', async () => {
    const bytes = await readFile(join(model, 'ids.u16'));
    const windows = readU16Windows(bytes.subarray(0, 2 * 16 * 6), 16);
    const run = async (name: string, stopAt: number) => {
      const out = join(folder, name);
      const controller = new AbortController();
      const inner = gptq();
      let calls = 0;
      const quantizer: Quantizer = {
        ...inner,
        async quantize(...args) {
          if (++calls === stopAt) controller.abort();
          return inner.quantize(...args);
        },
      };
      const rules = [{ match: '*', except: ['head' as const], quantizer, scheme: four }];
      const source = await openModel(model, builtin);
      const plan = planRun(source, { layout: gptqLayout(), transforms: [awq()], rules, seed: 0 });
      const context = createContext({ signal: controller.signal });
      const engine = () => createEngine({ backend: 'cpu' });
      try {
        return await runPlan(plan, { out, context, calibration: windows, engine });
      } finally {
        await source.close();
      }
    };
    await run('whole', Number.POSITIVE_INFINITY);
    await expect(run('parts', 5)).rejects.toThrow();
    expect((await run('parts', Number.POSITIVE_INFINITY)).resumed).toBe(true);
    const [whole, parts] = await Promise.all(
      ['whole', 'parts'].map((name) => readFile(join(folder, name, 'model.safetensors'))),
    );
    expect(Buffer.compare(whole!, parts!)).toBe(0);
  });
});
