import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readU16Windows } from '@q/calib';
import { type Checkpoint, gptqLayout, openCheckpoint } from '@q/checkpoint';
import {
  createContext,
  createRandom,
  edgeChannels,
  foldEdge,
  type ModelDescription,
  meanAbs,
  type Transform,
} from '@q/core';
import { runWindows } from '@q/eval';
import { planRun, type RunReport, runPlan } from '@q/pipeline';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtin, readersOf } from './registry.js';
import { runCommand } from './testing/run-command.js';
import { tinyConfigs, writeTinyModel } from './testing/tiny-mixture.js';

/** Random positive scales on every edge that has statistics. */
const scaling: Transform = {
  name: 'scaling',
  options: {},
  needs: [meanAbs],
  edges: (edges) => edges,
  async apply({ edges, weights, statistics }) {
    const current = new Map(weights);
    const inputScales = new Map<string, Float32Array>();
    for (const edge of edges) {
      const width = current.get(`${edge.consumers[0]}.weight`)!.shape[1];
      expect(statistics(edge.consumers[0]).get(meanAbs).width).toBe(width);
      const random = createRandom(1).fork(edge.id);
      const shared = Float32Array.from({ length: width }, () => Math.exp(0.5 * random.normal()));
      const folded = foldEdge(
        edge,
        Float32Array.from(edgeChannels(edge, width), (channel) => shared[channel]),
        current,
      );
      for (const [name, values] of folded.weights) current.set(name, values);
      for (const [module, factors] of folded.inputScales) inputScales.set(module, factors);
    }
    const changed = [...current].filter(([name, values]) => weights.get(name) !== values);
    return { weights: new Map(changed), inputScales, figures: {}, notes: [] };
  },
};

describe.each(Object.entries(tinyConfigs))('%s', (type, config) => {
  let folder: string;
  let model: string;
  let text: string[];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'q-mixture-'));
    model = join(folder, 'model');
    await writeTinyModel(model, config);
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

  it('keeps its function when every edge is scaled: routers are scaled along, and choose as before', async () => {
    const out = join(folder, 'scaled');
    const source = await openCheckpoint(model, readersOf(builtin));
    const windows = readU16Windows(await readFile(join(model, 'ids.u16')), 16);
    const recipe = { layout: gptqLayout(), transforms: [scaling], rules: [{ match: '*', keep: true }], seed: 0 };
    const plan = planRun(source, recipe);
    const context = createContext();
    const { transforms } = await runPlan(plan, { out, context, calibration: windows, engine: () => createEngine() });
    const notes = transforms.flatMap((row) => row.notes);
    expect(notes.filter((note) => /^experts\.[67]\.up->down: no calibration token reached it/.test(note)).length).toBe(
      2,
    );
    const written = await openCheckpoint(out, readersOf(builtin));
    const router = `${layer(0)}.gate.weight`;
    expect((await written.weight(router)).data).not.toEqual((await source.weight(router)).data);
    const engine = await createEngine();
    const logits = async ({ model: description, weight }: Checkpoint) =>
      (await runWindows(description as ModelDescription, engine, weight, windows)).logits(0, windows.count);
    const [before, after] = [await logits(source), await logits(written)];
    const largest = before.reduce((most, x, i) => Math.max(most, Math.abs(x - after[i])), 0);
    expect(largest).toBeLessThan(1e-4);
    await engine.dispose();
    await source.close();
    await written.close();
  });

  it('keeps its function when it is rotated, routers included', async () => {
    const out = join(folder, 'rotated');
    const { code, err } = await runCommand([
      'quantize',
      model,
      out,
      '--rotate',
      '--method',
      'rtn',
      '--keep',
      '*',
      '--format',
      'plain',
      '--no-eval',
      '--json',
    ]);
    expect(code, err).toBe(0);
    const against = ['--against', model, '--text', join(model, 'ids.u16'), '--length', '16', '--json'];
    expect(JSON.parse((await runCommand(['eval', out, ...against])).out).kl).toBeLessThan(1e-9);
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
