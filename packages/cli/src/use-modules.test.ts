import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

const core = pathToFileURL(join(import.meta.dirname, '../../core/src/index.ts')).href;
let folder: string;
let module: string;

/** A method, a number format and an architecture of one's own: bits shifted by an offset, so that the bytes show it. */
const source = (offset: number) => `
import { integer, int4, quantize, scheme, perGroup } from ${JSON.stringify(core)};
const format = { ...int4, name: 'int4-mine', toJSON: () => 'int4-mine' };
export const plugin = {
  methods: [{
    name: 'mine',
    summary: 'adds an offset to the weights',
    options: { offset: integer({ min: 0, default: ${offset}, help: 'An offset.' }) },
    quantizer: ({ offset = ${offset} }) => ({
      name: 'mine', options: { offset }, needs: [],
      async quantize(weight, _statistics, scheme) {
        const moved = { ...weight, data: weight.data.map((x) => x + offset * 1e-3) };
        return { quantized: quantize(moved, scheme), report: { method: 'mine', tokens: 0, figures: {}, notes: [] } };
      },
    }),
  }],
  formats: [format],
  schemes: [{ name: 'mine-g32', summary: 'int4 of mine', scheme: scheme({ format, granularity: perGroup(32) }) }],
};
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-use-'));
  module = join(folder, 'mine.mjs');
  await writeFile(module, source(1));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('--use', () => {
  it('brings a method with its options, its help, and its name in plan, report and folder', async () => {
    const help = await runCommand(['quantize', '--use', module, '--help']);
    expect(help.out).toMatch(/Options of mine:\s+--offset <n>\s+an offset \(default: 1\)/);
    const planned = await runCommand([
      'plan',
      demo.model,
      '--use',
      module,
      '--method',
      'mine',
      '--group',
      '32',
      '--json',
    ]);
    expect(planned.code, planned.err).toBe(0);
    const { recipe, tensors } = JSON.parse(planned.out);
    expect(recipe.uses).toEqual([{ module, identity: expect.stringMatching(/[0-9a-f]{64}$/) }]);
    expect(tensors.some((row: { method?: string }) => row.method === 'mine')).toBe(true);
    const out = join(folder, 'out');
    const method = ['--method', 'mine', '--group', '32', '--no-eval', '--json'];
    const run = await runCommand(['quantize', demo.model, out, '--use', module, ...method, '--offset', '3']);
    expect(run.code, run.err).toBe(0);
    expect(JSON.parse(run.out).recipe.rules[0].options).toEqual({ offset: 3 });
  });

  it('brings number formats that the plain layout writes, and that inspect reads with --use alone', async () => {
    const out = join(folder, 'plain');
    const scheme = ['--weights', 'mine-g32', '--layout', 'plain', '--method', 'rtn', '--no-eval'];
    const run = await runCommand(['quantize', demo.model, out, '--use', module, ...scheme]);
    expect(run.code, run.err).toBe(0);
    expect((await runCommand(['inspect', out, '--use', module])).out).toContain('int4-mine g32 sym');
    const without = await runCommand(['inspect', out]);
    expect(without.code).toBe(1);
    expect(without.err).toContain('int4-mine');
  });

  it('may stand in a recipe, as a path beside it or the name of an installed package', async () => {
    const recipe = join(folder, 'recipe.yaml');
    await writeFile(recipe, 'use: [./mine.mjs]\nmethod: mine\noffset: 2\ngroup: 32\n');
    const run = await runCommand(['plan', demo.model, '--recipe', recipe, '--json']);
    expect(run.code, run.err).toBe(0);
    expect(JSON.parse(run.out).recipe.rules[0].options).toEqual({ offset: 2 });

    const installed = join(folder, 'node_modules', '@me', 'mine');
    await mkdir(installed, { recursive: true });
    const manifest = { name: '@me/mine', version: '2.1.0', type: 'module', exports: { '.': { import: './main.js' } } };
    await writeFile(join(installed, 'package.json'), JSON.stringify(manifest));
    const quantizer = "() => ({ name: 'mine', options: {}, needs: [], async quantize() {} })";
    const method = `{ name: 'mine', summary: 'a method', options: {}, quantizer: ${quantizer} }`;
    await writeFile(join(installed, 'main.js'), `export const plugin = { methods: [${method}] };`);
    await writeFile(recipe, 'use: ["@me/mine"]\nmethod: mine\ngroup: 32\n');
    const named = await runCommand(['plan', demo.model, '--recipe', recipe, '--json']);
    expect(named.code, named.err).toBe(0);
    const [{ identity }] = JSON.parse(named.out).recipe.uses;
    expect(identity).toMatch(/^@me\/mine@2\.1\.0 [0-9a-f]{64}$/);
  });

  it('gives a changed module another identity, so that its run does not go on from the other one', async () => {
    const copy = join(folder, 'changed.mjs');
    const identity = async (offset: number) => {
      await writeFile(copy, source(offset));
      const { out } = await runCommand([
        'plan',
        demo.model,
        '--use',
        copy,
        '--method',
        'mine',
        '--group',
        '32',
        '--json',
      ]);
      return JSON.parse(out).recipe.uses[0].identity;
    };
    const first = await identity(1);
    expect(await identity(2)).not.toBe(first);
    expect(await identity(1)).toBe(first);
  });

  it.each<[string[], RegExp]>([
    [['--use', './absent.mjs'], /--use \.\/absent\.mjs: .*absent\.mjs does not exist/],
    [['--use', '@me/absent'], /--use @me\/absent: is not installed in/],
    [['--use', 'BAD'], /bad\.mjs cannot be loaded/],
    [['--use', 'EMPTY'], /exports no object named plugin/],
    [['--method', 'mine'], /--method mine: is not known/],
  ])('%j is refused in words', async (options, message) => {
    await writeFile(join(folder, 'bad.mjs'), 'import "./nowhere.mjs";');
    await writeFile(join(folder, 'empty.mjs'), 'export const x = 1;');
    const words = options.map((word) =>
      word === 'BAD' ? join(folder, 'bad.mjs') : word === 'EMPTY' ? join(folder, 'empty.mjs') : word,
    );
    const { code, err } = await runCommand(['plan', demo.model, ...words]);
    expect(code).toBe(1);
    expect(err).toMatch(message);
  });
});

describe('an option that the chosen method does not have', () => {
  it.each<[string[], RegExp]>([
    [['--method', 'rtn', '--act-order'], /--act-order: method rtn has no option "actOrder"/],
    [['--method', 'rtn', '--refine-rounds', '5'], /--refine-rounds: method rtn has no option/],
    [['--method', 'hqq', '--clip'], /--clip: method hqq has no option/],
    [['--method', 'gptq', '--epochs', '3'], /--epochs: method gptq has no option/],
    [['--layout', 'plain', '--layout-version', '2'], /--layout-version: the layout plain has no such option/],
    [['--rule', 'nope=bits:3'], /rule 1 \("nope"\): matches no linear of .*; they are named like model\.layers\.0/],
    [['--keep', 'nothing.matches'], /"nothing\.matches"\): matches no linear/],
    [['--weights', 'nf4', '--bits', '4'], /--weights and --bits exclude each other/],
    [
      ['--weights', 'nf4', '--method', 'rtn', '--layout', 'gptq'],
      /the GPTQ layout stores integers of 2, 3, 4, 8 bits, not nf4/,
    ],
  ])('%j', async (options, message) => {
    const group = options.includes('--weights') ? [] : ['--group', '32'];
    const { code, err } = await runCommand(['plan', demo.model, ...group, ...options]);
    expect(code).toBe(1);
    expect(err).toMatch(message);
  });
});
