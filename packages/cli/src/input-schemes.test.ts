import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { namedRecipes } from './named-recipes.js';
import { parseRecipeText } from './recipe-text.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-inputs-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const json = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8'));
const evaluation = ['--text', demo.heldOut, '--length', '64', '--windows', '4', '--json'];

describe('the recipe fp8-llama3', () => {
  it('is the file in the documentation', async () => {
    const path = new URL('../../../docs/recipes/fp8-llama3.yaml', import.meta.url);
    expect(parseRecipeText(await readFile(path, 'utf8'), 'fp8-llama3.yaml')).toEqual(namedRecipes.get('fp8-llama3'));
  });

  it('quantizes the feed-forward layers between the first and the last, and the model runs with rounded inputs', async () => {
    const out = join(folder, 'out');
    const { code, err } = await runCommand(['quantize', demo.model, out, '--recipe', 'fp8-llama3', '--no-eval']);
    expect([code, err]).toEqual([0, expect.not.stringContaining('error')]);
    const { quantization_config: config } = await json('out/config.json');
    expect(config).toMatchObject({ quant_method: 'fbgemm_fp8', activation_scale_ub: 1200 });
    const kept = (block: number, parts: readonly string[]) => parts.map((part) => `model.layers.${block}.${part}_proj`);
    const attention = ['q', 'k', 'v', 'o'].map((part) => `self_attn.${part}`);
    const all = [...attention, ...['gate', 'up', 'down'].map((part) => `mlp.${part}`)];
    expect([...config.modules_to_not_convert].sort()).toEqual(
      ['lm_head', ...kept(0, all), ...kept(1, attention), ...kept(2, attention), ...kept(3, all)].sort(),
    );
    const scored = await runCommand(['eval', out, '--against', demo.model, ...evaluation]);
    expect(scored.err).toContain('6 linears round their inputs to FP8');
    const { kl } = JSON.parse(scored.out);
    expect(kl).toBeGreaterThan(0);
    expect(kl).toBeLessThan(1e-4);
  });

  it('takes options over its own, and names an unknown recipe', async () => {
    const plan = await runCommand(['plan', demo.model, '--recipe', 'fp8-llama3', '--input-bound', '600']);
    expect(plan.out).toContain('up to 600');
    const { code, err } = await runCommand(['plan', demo.model, '--recipe', 'fp8-llama']);
    expect([code, err]).toEqual([1, expect.stringContaining('recipes with a name are fp8-llama3')]);
  });
});

describe('--inputs', () => {
  it.each([
    ['fp8', ['--layout', 'fp8', '--inputs', 'fp8-static']],
    ['int8', ['--layout', 'compressed-tensors-int8', '--weights', 'int8', '--inputs', 'int8-row']],
  ])('quantizes weights by GPTQ and inputs to %s', async (_, options) => {
    const out = join(folder, 'out');
    const calibration = ['--calib', demo.calibration, '--samples', '4', '--length', '32', '--no-eval'];
    const made = await runCommand(['quantize', demo.model, out, '--method', 'gptq', ...options, ...calibration]);
    expect([made.code, made.err]).toEqual([0, expect.not.stringContaining('error')]);
    const scored = await runCommand(['eval', out, '--against', demo.model, ...evaluation]);
    expect(JSON.parse(scored.out).kl).toBeLessThan(5e-3);
  });

  it.each<[string[], string]>([
    [['--inputs', 'fp8'], 'is not known (fp8-row,'],
    [['--input-bound', '1200'], 'give --inputs fp8-row too'],
    [['--inputs', 'int8-row', '--input-bound', '5'], '--input-bound 5'],
    [['--inputs', 'fp8-static', '--input-bound', '5'], 'a static scale is known already'],
    [['--layout', 'fp8', '--inputs', 'fp8-row', '--input-bound', '5'], 'use --layout fbgemm-fp8'],
    [['--method', 'llm-int8', '--inputs', 'fp8-row'], 'has schemes of its own'],
    [['--layout', 'fbgemm-fp8', '--weights', 'fp8-tensor'], 'use --weights fp8-row'],
  ])('refuses %j', async (options, message) => {
    const { code, err } = await runCommand(['plan', demo.model, ...options]);
    expect([code > 0, err]).toEqual([true, expect.stringContaining(message)]);
  });
});
