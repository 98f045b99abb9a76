/** `--weights SCHEME` without a layout: the folder takes the first layout that holds the scheme, and the plan says which. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recipeFrom } from './recipe-flags.js';
import { builtin } from './registry.js';
import { runCommand } from './testing/run-command.js';
import { tinyConfigs, writeTinyModel } from './testing/tiny-mixture.js';

let folder: string;
let model: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-scheme-layout-'));
  model = join(folder, 'model');
  await writeTinyModel(model, { ...tinyConfigs.mixtral, model_type: 'llama', hidden_size: 64, intermediate_size: 128 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const layoutOf = async (flags: Record<string, unknown>) => (await recipeFrom(flags, builtin)).recipe.layout.name;

describe('--weights', () => {
  it.each([
    ['int3 g64', 'gptq'],
    ['uint4 g32 asym', 'gptq'],
    ['nf4', 'bitsandbytes-nf4'],
    ['fp8-row', 'fp8'],
    ['mxfp4', 'plain'],
    ['ternary', 'plain'],
    ['binary', 'plain'],
    ['binary01', 'plain'],
  ])('%s goes into the layout %s', async (weights, layout) => {
    expect(await layoutOf({ weights, method: 'rtn' })).toBe(layout);
  });

  it('is said by the plan', async () => {
    const { code, out, err } = await runCommand(['plan', model, '--weights', 'nf4', '--method', 'rtn']);
    expect(code, err).toBe(0);
    expect(out).toMatch(/in \d+ quantized linears, layout bitsandbytes-nf4$/m);
  });

  it('leaves a layout that is named alone, and refuses a scheme that it does not hold', async () => {
    expect(await layoutOf({ weights: 'nf4', layout: 'plain' })).toBe('plain');
    const { code, err } = await runCommand(['plan', model, '--weights', 'nf4', '--layout', 'gptq', '--method', 'rtn']);
    expect(code).toBe(1);
    expect(err).toContain('the GPTQ layout stores integers of 2, 3, 4, 8 bits, not nf4');
  });
});

describe('--max-bytes with --candidates', () => {
  const text = () => ['--method', 'rtn', '--calib', join(model, 'ids.u16'), '--length', '16', '--samples', '8'];

  it('chooses among schemes of any format, within the bytes of all tensors', async () => {
    const candidates = ['--candidates', 'int2 g32, nf4 ,int8 g32'];
    const smallest = await runCommand(['plan', model, ...text(), ...candidates, '--max-bytes', '1']);
    expect(smallest.code).toBe(1);
    const least = Number(/the smallest that this recipe gives is (\d+) bytes/.exec(smallest.err)?.[1]);
    const limit = least + 6000;
    const out = join(folder, 'out');
    const run = await runCommand([
      'quantize',
      model,
      out,
      ...text(),
      ...candidates,
      '--max-bytes',
      `${limit}`,
      '--no-eval',
      '--json',
    ]);
    expect(run.code, run.err).toBe(0);
    const { budget } = JSON.parse(run.out);
    expect(budget.choices[0].options.map(({ bits }: { bits: number }) => bits)).toEqual([2, 4, 8]);
    const { tensors } = JSON.parse((await runCommand(['inspect', out, '--json'])).out);
    const bytes = tensors.reduce((sum: number, tensor: { bytes: number }) => sum + tensor.bytes, 0);
    expect(bytes).toBeLessThanOrEqual(limit);
    expect(bytes).toBeGreaterThan(least);
    expect(JSON.parse(await readFile(join(out, 'config.json'), 'utf8')).quantization_config.quant_method).toBe(
      'q-plain',
    );
  });

  it.each([
    [['--max-bytes', '9000', '--budget', '3'], /exclude each other/],
    [['--candidates', 'nf4'], /--candidates: is what a budget chooses from: give --budget or --max-bytes too/],
    [
      ['--max-bytes', '9000', '--candidates', 'nf4', '--candidate-bits', '3'],
      /--candidates and --candidate-bits exclude/,
    ],
    [['--max-bytes', '90000', '--candidates', 'nf5'], /nf5/],
  ])('refuses %j', async (args, message) => {
    const { code, err } = await runCommand(['plan', model, ...text(), ...args]);
    expect(code).toBe(1);
    expect(err).toMatch(message);
  });
});
