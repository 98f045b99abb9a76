import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunReport } from '@q/pipeline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from './testing/run-command.js';
import { tinyConfigs, writeTinyMixture } from './testing/tiny-mixture.js';

describe.each(Object.entries(tinyConfigs))('%s', (type, config) => {
  let folder: string;
  let model: string;
  let text: string[];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'q-mixture-'));
    model = join(folder, 'model');
    await writeTinyMixture(model, config);
    text = ['--calib', join(model, 'ids.u16'), '--length', '16', '--samples', '40', '--group', '16'];
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const layer = (index: number) => `model.layers.${index}.${type === 'mixtral' ? 'block_sparse_moe' : 'mlp'}`;
  const linears = 2 * (4 + 3 * 8 + (type === 'mixtral' ? 0 : 3));

  it('is planned with its routers kept', async () => {
    const { code, out, err } = await runCommand(['plan', model, '--group', '16', '--json']);
    expect(err).not.toContain('error');
    expect(code).toBe(0);
    const rows: { name: string; action: string }[] = JSON.parse(out).tensors;
    expect(rows.filter(({ action }) => action === 'quantize').length).toBe(linears);
    const routers = rows.filter(({ name }) => /(mlp|moe)\.gate\.weight|shared_expert_gate/.test(name));
    expect(routers.length).toBe(type === 'mixtral' ? 2 : 4);
    expect(routers.every(({ action }) => action === 'copy')).toBe(true);
  });

  it('calibrates each expert with its own tokens, names those that none reaches, and reads back', async () => {
    const out = join(folder, 'gptq');
    const result = await runCommand([
      'quantize',
      model,
      out,
      '--bits',
      '4',
      ...text,
      '--expert-tokens',
      '30',
      '--json',
    ]);
    expect(result.err).not.toContain('error:');
    const report: RunReport = JSON.parse(result.out);
    expect(report.layers.length).toBe(linears);
    const experts = report.experts ?? [];
    expect(experts.length).toBe(16);
    const first = experts.slice(0, 8);
    // 40 windows of 16 tokens, two experts each; a token that the quantized model sends elsewhere is not compared.
    const total = first.reduce((sum, { tokens }) => sum + tokens, 0);
    expect(total).toBeLessThanOrEqual(2 * 640);
    expect(total).toBeGreaterThan(0.8 * 2 * 640);
    expect(new Set(first.map(({ tokens }) => tokens)).size).toBeGreaterThan(3);
    const lost = experts.filter(({ tokens }) => tokens === 0).map(({ expert }) => expert);
    expect(lost).toEqual([6, 7].map((e) => `${layer(1)}.experts.${e}`));
    expect(experts.every(({ tokens, calibrated }) => calibrated === tokens >= 30)).toBe(true);
    expect(
      report.notes.some((note) => note.startsWith(`${lost[0]}.`) && note.includes('no calibration token reached')),
    ).toBe(true);
    expect(report.layers.find(({ module }) => module.startsWith(`${lost[0]}.`))?.method).toBe('rtn');
    expect(report.evaluation?.after.kl).toBeGreaterThan(0);
    expect(report.evaluation?.after.kl).toBeLessThan(0.05);
    const settings = JSON.parse(await readFile(join(out, 'quantize_config.json'), 'utf8'));
    expect(settings.bits).toBe(4);
    const scores = await runCommand([
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
    expect(JSON.parse(scores.out).kl).toBeLessThan(0.05);
  });

  it('is rounded without data, and spends a budget on its experts together', async () => {
    const data = await runCommand([
      'quantize',
      model,
      join(folder, 'rtn'),
      '--method',
      'rtn',
      '--group',
      '16',
      '--no-eval',
      '--json',
    ]);
    expect(data.code, data.err).toBe(0);
    expect(JSON.parse(data.out).experts).toBeUndefined();
    const { code, out, err } = await runCommand(['plan', model, '--budget', '5', ...text, '--json']);
    expect(code, err).toBe(0);
    const { budget, bitsPerWeight, tensors } = JSON.parse(out);
    expect(bitsPerWeight).toBeLessThanOrEqual(5);
    expect(budget.choices.map(({ modules }: { modules: string[] }) => modules.length)).toContain(24);
    const schemes = tensors
      .filter(({ name }: { name: string }) => name.startsWith(`${layer(0)}.experts.`))
      .map(({ scheme }: { scheme: string }) => scheme);
    expect(new Set(schemes).size).toBe(1);
  });
});
