import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recipeFrom } from './recipe-flags.js';
import { builtin } from './registry.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-cli-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const recipes = new URL('../../../docs/recipes/', import.meta.url);
const json = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8'));

describe('--method awq', () => {
  it('writes an AWQ folder that is evaluated, with what it did in the report', async () => {
    const out = join(folder, 'out');
    const text = ['--calib', demo.calibration, '--samples', '4', '--length', '48', '--windows', '2'];
    const how = ['--method', 'awq', '--format', 'awq', '--objective', 'layer', '--group', '32'];
    const { code, err } = await runCommand(['quantize', demo.model, out, ...how, ...text, '--eval-text', demo.heldOut]);
    expect(err).not.toContain('error');
    expect(code).toBe(0);
    expect((await json('out/config.json')).quantization_config).toMatchObject({ quant_method: 'awq', group_size: 32 });
    const report = await json('out/q-report.json');
    expect(report.recipe.transforms).toMatchObject([{ name: 'awq', options: { objective: 'layer', clip: true } }]);
    expect(report.transforms.length).toBe(4);
    for (const { figures } of report.transforms) {
      expect(figures['input_layernorm->q,k,v ratio']).toBeLessThan(1);
      expect(figures['up->down error']).toBeLessThanOrEqual(figures['up->down errorUnscaled']);
    }
    expect(report.evaluation.after.kl).toBeLessThan(0.1);
  });

  it('learns from the text of the command where none is given, says so, and shows in the plan what it scales', async () => {
    const how = ['--method', 'awq', '--group', '32', '--samples', '4', '--length', '48'];
    const without = await runCommand(['quantize', demo.model, join(folder, 'out'), ...how]);
    expect([without.code, without.err]).toEqual([0, expect.stringContaining('note: no --calib was given')]);
    expect((await json('out/q-report.json')).calibration).toEqual({ name: 'default', samples: 4, length: 48 });
    const { out } = await runCommand(['plan', demo.model, '--method', 'awq', '--group', '32']);
    expect(out).toMatch(/input_layernorm\.weight .* f32 .*scaled by awq/);
    const refused = await runCommand([
      'plan',
      demo.model,
      '--method',
      'awq',
      '--format',
      'awq',
      '--bits',
      '3',
      '--group',
      '32',
    ]);
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('integers of 4 bits, not uint3')]);
  });

  it('cannot be the method of some linears only', async () => {
    const recipe = join(folder, 'recipe.json');
    await writeFile(recipe, JSON.stringify({ method: 'rtn', rules: [{ match: '*down_proj', method: 'awq' }] }));
    await expect(recipeFrom({ recipe }, builtin)).rejects.toThrow('awq changes whole blocks');
  });
});

describe('--method hqq', () => {
  it('has whole zero points where runtimes read them and real ones in the plain layout', async () => {
    const zeroPoint = async (format: string) =>
      (await recipeFrom({ method: 'hqq', layout: format }, builtin)).recipe.rules.map(
        ({ scheme }) => scheme?.zeroPoint,
      );
    expect(await zeroPoint('gptq')).toEqual(['integer']);
    expect(await zeroPoint('plain')).toEqual(['float']);
    const out = join(folder, 'out');
    const { code } = await runCommand([
      'quantize',
      demo.model,
      out,
      '--method',
      'hqq',
      '--format',
      'plain',
      '--group',
      '32',
    ]);
    expect(code).toBe(0);
    const { out: scores, code: scored } = await runCommand([
      'eval',
      out,
      '--text',
      demo.heldOut,
      '--windows',
      '2',
      '--json',
    ]);
    expect([scored, JSON.parse(scores).perplexity > 1]).toEqual([0, true]);
    const refused = await runCommand(['plan', demo.model, '--method', 'hqq', '--sym', '--group', '32']);
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('use an asymmetric one')]);
  });
});

it.each(['awq.yaml', 'hqq.yaml', 'composed.yaml', 'budget-3.yaml', 'budget-4.yaml'])(
  'the recipe file %s is read',
  async (name) => {
    const { recipe, budget } = await recipeFrom({ recipe: new URL(name, recipes).pathname }, builtin);
    const last = recipe.rules.at(-1);
    expect(budget ? last?.candidates : last?.scheme).toBeDefined();
  },
);
