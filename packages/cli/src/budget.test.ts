import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLineLog } from '@q/durable-files';
import type { BudgetReport } from '@q/pipeline';
import { parseBudget, topOptions } from '@q/pipeline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseFlag } from './command.js';
import { recipeFrom } from './recipe-flags.js';
import { builtin } from './registry.js';
import { parseRule } from './rule-option.js';
import { runCommand } from './testing/run-command.js';
import { tinyConfigs, writeTinyModel } from './testing/tiny-mixture.js';

const config = {
  ...tinyConfigs.mixtral,
  model_type: 'llama',
  hidden_size: 32,
  intermediate_size: 64,
};

let folder: string;
let model: string;
let text: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-budget-'));
  model = join(folder, 'model');
  await writeTinyModel(model, config);
  text = [
    '--method',
    'rtn',
    '--group',
    '16',
    '--calib',
    join(model, 'ids.u16'),
    '--length',
    '16',
    '--samples',
    '8',
    '--no-eval',
    '--json',
  ];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('--budget', () => {
  it('spends what it is given and no more, the same way each time, and says why', async () => {
    const planned = await runCommand([
      'plan',
      model,
      '--budget',
      '4.6',
      ...text.filter((word) => word !== '--no-eval'),
    ]);
    expect(planned.code, planned.err).toBe(0);
    const { budget, bitsPerWeight } = JSON.parse(planned.out) as { budget: BudgetReport; bitsPerWeight: number };
    expect(bitsPerWeight).toBeLessThanOrEqual(4.6);
    expect(bitsPerWeight).toBeGreaterThan(4.2);
    // Two blocks of q,k,v; o; gate,up; down, each with what the GPTQ layout can hold.
    expect(budget.choices.length).toBe(8);
    for (const { options, chosen } of budget.choices) {
      expect(options.map(({ bits }) => bits)).toEqual([2, 3, 4, 8]);
      expect(options.every(({ kl }) => kl > 0)).toBe(true);
      expect(options[0].kl).toBeGreaterThan(options[3].kl);
      expect(options[chosen]).toBeDefined();
    }
    expect(budget.predictedKl).toBeCloseTo(
      budget.choices.reduce((sum, { options, chosen }) => sum + options[chosen].kl, 0),
      12,
    );
    const out = join(folder, 'out');
    const run = await runCommand(['quantize', model, out, '--budget', '4.6', ...text]);
    expect(run.code, run.err).toBe(0);
    expect(JSON.parse(run.out).budget.choices).toEqual(budget.choices);
    expect((await readdir(out)).filter((name) => name.endsWith('.jsonl'))).toEqual([]);
    const { dynamic, bits } = JSON.parse(await readFile(join(out, 'quantize_config.json'), 'utf8'));
    expect(Object.keys(dynamic).length).toBeGreaterThan(0);
    const inspected = JSON.parse((await runCommand(['inspect', out, '--json'])).out);
    for (const { modules, options, chosen } of budget.choices) {
      for (const module of modules) {
        const { scheme } = inspected.tensors.find(({ name }: { name: string }) => name === `${module}.qweight`);
        expect(scheme).toBe(options[chosen].scheme);
        const rule = dynamic[`+:^${module.replaceAll('.', '\\.')}$`];
        expect(rule?.bits ?? bits).toBe(options[chosen].bits);
      }
    }
    const evaluated = await runCommand([
      'eval',
      out,
      '--against',
      model,
      '--text',
      join(model, 'ids.u16'),
      '--length',
      '16',
      '--json',
    ]);
    expect(JSON.parse(evaluated.out).kl).toBeLessThan(0.3);
  });

  it('goes on where it was interrupted, without measuring again what is kept, to the same bytes', async () => {
    const kept = join(folder, 'kept.jsonl');
    const args = ['quantize', model, join(folder, 'a'), '--budget', '4.6', ...text, '--sensitivity', kept];
    expect((await runCommand(args)).code).toBe(0);
    const lines = (await readFile(kept, 'utf8')).split('\n');
    // What it is, what it was computed with, the units, and the end of the last line.
    expect(lines.length).toBe(2 + 8 + 1);
    expect(JSON.parse(lines[1]).computedWith).toContain('wasm');
    // A number that no measurement gives shows that the file is read: one unit now looks priceless at 2 to 4 bits.
    const out = join(folder, 'b');
    const partial = join(folder, 'partial.jsonl');
    await writeFile(partial, `${lines.slice(0, 4).join('\n')}\n${lines[4].slice(0, 9)}`);
    const resumed = await runCommand(['quantize', model, out, '--budget', '4.6', ...text, '--sensitivity', partial]);
    expect(resumed.code, resumed.err).toBe(0);
    expect(await readFile(partial, 'utf8')).toBe(lines.join('\n'));
    for (const name of (await readdir(out)).filter((file) => !file.startsWith('q-report')))
      expect(await readFile(join(out, name)), name).toEqual(await readFile(join(folder, 'a', name)));
    const foreign = join(folder, 'foreign.jsonl');
    await writeFile(foreign, `${lines[0]}\n`);
    const log = await openLineLog(foreign, {});
    await log.append({ computedWith: 'an abacus' });
    await log.append({ unit: JSON.parse(lines[2]).unit, rows: JSON.parse(lines[2]).rows });
    await log.close();
    const mixed = ['quantize', model, join(folder, 'c'), '--budget', '4.6', ...text, '--sensitivity', foreign];
    expect((await runCommand(mixed)).err).toContain('was begun with an abacus; this run computes with');
    const other = await runCommand([
      'plan',
      model,
      '--budget',
      '4.6',
      ...text.filter((word) => word !== '--no-eval'),
      '--samples',
      '9',
      '--sensitivity',
      kept,
    ]);
    expect(other.code).toBe(1);
    expect(other.err).toContain('holds sensitivities of another model, calibration text');
  });

  it('leaves rules with bits of their own alone, and counts them', async () => {
    const { out, err } = await runCommand([
      'plan',
      model,
      ...text.filter((word) => word !== '--no-eval'),
      '--budget',
      '46kB',
      '--rule',
      '*.layers.0.*=bits:8',
      '--rule',
      '*.down_proj=keep',
      '--candidate-bits',
      '2,4',
    ]);
    const { tensors, bytesAfter, budget } = JSON.parse(out || err);
    expect(bytesAfter).toBeLessThanOrEqual(46_000);
    expect(budget.choices.map(({ unit }: { unit: string }) => unit)).toEqual([
      'model.layers.1.self_attn.{q_proj,k_proj,v_proj}',
      'model.layers.1.self_attn.o_proj',
      'model.layers.1.mlp.{gate_proj,up_proj}',
    ]);
    for (const { name, scheme } of tensors as { name: string; scheme?: string }[])
      if (/layers\.0\..*proj/.test(name)) expect(scheme, name).toContain('uint8');
  });

  const measured = () => text.filter((word) => word !== '--no-eval');
  const optionsOf = (unit: string, { choices }: BudgetReport) => {
    const { options, chosen } = choices.find((each) => each.unit === unit) as BudgetReport['choices'][number];
    return { schemes: options.map(({ scheme }) => scheme), taken: options[chosen] };
  };

  it('takes in the embeddings and the head when the linears cannot reach a size, and says so', async () => {
    const alone = await runCommand(['plan', model, '--layout', 'gptq', '--max-bytes', '1', ...measured()]);
    expect(alone.err).toContain('or quantize the embeddings too (--embeddings auto)');
    const size = Number(/this recipe gives is (\d+) bytes/.exec(alone.err)?.[1]) - 1;
    const small = await runCommand(['plan', model, '--max-bytes', `${size}`, ...measured()]);
    expect(small.code, small.err).toBe(0);
    const { budget, bytesAfter, recipe } = JSON.parse(small.out);
    expect(bytesAfter).toBeLessThanOrEqual(size);
    expect(recipe.layout).toBe('plain');
    expect(small.err).toContain('so the budget chooses for the embeddings and the head too');
    const table = optionsOf('model.embed_tokens', budget);
    expect(table.schemes.length).toBe(8);
    expect(table.schemes.at(-1)).toBe('kept');
    expect(optionsOf('lm_head', budget).schemes).toEqual(table.schemes);
    const large = JSON.parse((await runCommand(['plan', model, '--max-bytes', '46kB', ...measured()])).out);
    expect(large.recipe.layout).toBe('gptq');
    expect(large.budget.choices.length).toBe(8);
    const least = await runCommand(['plan', model, '--max-bytes', '10kB', ...measured()]);
    expect(least.err).toMatch(/the budget is 10000 bytes, but the smallest that this recipe gives is \d+ bytes/);
  });

  it('writes the tables that it chose, the same bytes after an interruption', async () => {
    const args = ['--max-bytes', '34kB', '--embeddings', 'auto', '--head', 'auto', ...text];
    const kept = join(folder, 'kept.jsonl');
    const first = await runCommand(['quantize', model, join(folder, 'a'), ...args, '--sensitivity', kept]);
    expect(first.code, first.err).toBe(0);
    const { budget, bytesAfter, layers } = JSON.parse(first.out);
    expect(bytesAfter).toBeLessThanOrEqual(34_000);
    for (const unit of ['model.embed_tokens', 'lm_head']) {
      const { taken } = optionsOf(unit, budget);
      const row = layers.find(({ module }: { module: string }) => module === unit);
      expect(row?.scheme ?? 'kept').toBe(taken.scheme);
    }
    const lines = (await readFile(kept, 'utf8')).split('\n');
    expect(lines.length).toBe(2 + 10 + 1);
    const partial = join(folder, 'partial.jsonl');
    await writeFile(partial, lines.slice(0, 11).join('\n'));
    const again = await runCommand(['quantize', model, join(folder, 'b'), ...args, '--sensitivity', partial]);
    expect(again.code, again.err).toBe(0);
    expect(await readFile(partial, 'utf8')).toBe(lines.join('\n'));
    for (const name of (await readdir(join(folder, 'b'))).filter((file) => !file.startsWith('q-report')))
      expect(await readFile(join(folder, 'b', name)), name).toEqual(await readFile(join(folder, 'a', name)));
  });

  it('counts a table in bits per weight, and keeps none there', async () => {
    const { out, err } = await runCommand(['plan', model, '--budget', '5', '--embeddings', 'auto', ...measured()]);
    const { budget, bitsPerWeight } = JSON.parse(out || err);
    expect(bitsPerWeight).toBeLessThanOrEqual(5);
    expect(optionsOf('model.embed_tokens', budget).schemes.length).toBe(7);
  });

  it.each([
    [['--budget', '4', '--method', 'llm-qat'], /--calib FILE is needed/],
    [['--embeddings', 'auto'], /--embeddings auto: a budget chooses the scheme: give --budget or --max-bytes too/],
    [['--max-bytes', '75 apples'], /--max-bytes 75 apples: a size of all tensors \(900MB\), or bytes, was expected/],
    [
      ['--budget', '1.5', '--calib', 'IDS', '--length', '16', '--samples', '4'],
      /the smallest that this recipe gives is [0-9.]+ bits per weight/,
    ],
    [
      ['--budget', '2B', '--calib', 'IDS', '--length', '16', '--samples', '4'],
      /the smallest that this recipe gives is \d+ bytes/,
    ],
    [['--budget', 'much'], /--budget much: bits per weight \(3\.0\) or a size/],
    [['--budget', '3', '--bits', '4'], /exclude each other/],
    [
      ['--budget', '3', '--candidate-bits', '2,9'],
      /--candidate-bits 2,9: a list, each entry a whole number from 2 to 8 was expected/,
    ],
    [['--candidate-bits', '2,3'], /give --budget or --max-bytes too/],
    [['--sensitivity', 'x'], /give --budget too/],
    [['--rule', '*.o_proj'], /PATTERN=bits:3,group:64/],
    [['--rule', '*.o_proj=bit:3'], /unknown key "bit"; did you mean bits/],
    [['--rule', '*.o_proj=bits:12'], /--rule .*: bits: /],
    [
      ['--budget', '5', '--calib', 'IDS', '--length', '16', '--samples', '4', '--rule', '*.q_proj=bits:8'],
      /fused by runtimes/,
    ],
  ])('refuses %j in words', async (options, message) => {
    const { code, err } = await runCommand([
      'plan',
      model,
      '--group',
      '16',
      ...options.map((word) => (word === 'IDS' ? join(model, 'ids.u16') : word)),
    ]);
    expect(code).toBe(1);
    expect(err).toMatch(message);
    expect(err).not.toContain('unexpected');
  });

  it('refuses an output folder that is not its own before it measures', async () => {
    const { code, err } = await runCommand(['quantize', model, model, '--budget', '4', ...text]);
    expect(code).toBe(1);
    expect(err).toContain('is not empty and is not an interrupted run');
    expect(await readdir(model)).not.toContain('q-sensitivity.jsonl');
  });
});

describe('options', () => {
  it('reads budgets, widths and rules', async () => {
    expect(parseBudget('--budget', '3')).toEqual({ bitsPerWeight: 3 });
    expect(parseBudget('budget', 3.25)).toEqual({ bitsPerWeight: 3.25 });
    expect(parseBudget('--budget', '4.5 GB')).toEqual({ bytes: 4.5e9 });
    expect(parseFlag('--candidate-bits', '2, 3,8', [topOptions.candidateBits], {})).toEqual([2, 3, 8]);
    expect(parseRule('*.w=1=bits:3, group:64,symmetric:true,method:rtn')).toEqual({
      match: '*.w=1',
      bits: 3,
      group: 64,
      symmetric: true,
      method: 'rtn',
    });
    expect(parseRule('lm_head=keep')).toEqual({ match: 'lm_head', keep: true });
    const { recipe } = await recipeFrom({ rule: ['*.a=bits:3', '*.a=bits:8'], keep: ['*.b'] }, builtin);
    expect(recipe.rules.map(({ match }) => `${match}`)).toEqual(['*.b', '*.a', '*.a', '*']);
    expect(recipe.rules.map(({ except }) => except)).toEqual([undefined, undefined, undefined, ['head']]);
    expect(recipe.rules[1].scheme?.format.bits).toBe(3);
  });
});
