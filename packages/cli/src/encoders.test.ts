import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint, plainLayout } from '@q/checkpoint';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';
import { writeTinyEncoder } from './testing/tiny-encoder.js';

let folder: string;
let model: string;
let lines: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-encoders-'));
  model = join(folder, 'model');
  lines = join(model, 'lines.txt');
  await writeTinyEncoder(model);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const compute = ['--engine', 'wasm', '--threads', '1'];
const succeed = async (argv: readonly string[]) => {
  const { code, out, err } = await runCommand([...argv, '--json']);
  expect(err.split('\n').filter((line) => line.startsWith('error'))).toEqual([]);
  expect(code).toBe(0);
  return JSON.parse(out);
};
const judge = (own: string, ...more: readonly string[]) =>
  succeed(['eval', own, '--against', model, '--text', lines, ...compute, ...more]);

describe('encoders', () => {
  it('are themselves', async () => {
    const found = await judge(model);
    expect(found.cosine.mean).toBeCloseTo(1, 6);
    expect(found.cosine.min).toBeCloseTo(1, 6);
    expect([found.recallAt10, found.lines, found.pooling]).toEqual([1, 120, 'modules.json: mean, normalize']);
    expect(found.similaritySpearman).toBeCloseTo(1, 6);
    expect(found.bytes).toBe(found.originalBytes);
  });

  it.each([
    ['gptq', ['--format', 'plain', '--embeddings', 'int4 g16', '--group', '16'], 0.98],
    ['awq', ['--group', '16'], 0.98],
    ['smoothquant', [], 0.999],
    ['rtn', ['--bits', '8', '--group', '32', '--format', 'plain', '--embeddings', 'int8 g32'], 0.9995],
  ])(
    'are quantized by %s, folders of pooling included',
    async (method, options, least) => {
      const out = join(folder, method);
      const calib = method === 'rtn' ? [] : ['--calib', lines, '--samples', '16', '--length', '40'];
      const report = await succeed(['quantize', model, out, '--method', method, ...calib, ...options, ...compute]);
      expect(JSON.parse(await readFile(join(out, '1_Pooling/config.json'), 'utf8')).pooling_mode_mean_tokens).toBe(
        true,
      );
      const found = await judge(out);
      expect(found.cosine.mean).toBeGreaterThan(least);
      expect(found.cosine.mean).toBeLessThan(1);
      expect(found.bytes).toBe(report.bytesAfter);
      // The header of the file is not among the tensors' bytes.
      const { size } = await stat(join(out, 'model.safetensors'));
      expect(size).toBeLessThan(found.bytes + 20000);
    },
    30000,
  );

  it('that classify are judged by their classes', async () => {
    const [own, out] = [join(folder, 'classifier'), join(folder, 'classifier-8')];
    await writeTinyEncoder(own, { architectures: ['BertForSequenceClassification'], num_labels: 3 });
    await succeed(['quantize', own, out, '--method', 'rtn', '--bits', '8', '--group', '32', '--format', 'plain']);
    const found = await succeed(['eval', out, '--against', own, '--text', lines, ...compute]);
    expect(found.agreement).toBeGreaterThan(0.95);
    expect(found.kl).toBeGreaterThan(0);
    expect(found.kl).toBeLessThan(1e-3);
    expect([found.pooling, found.cosine]).toEqual(['classifier', undefined]);
  });

  it('are measured on scored pairs', async () => {
    const pairs = join(folder, 'pairs.tsv');
    await writeFile(pairs, 'a b c\ta b c\t5\none two\tone three\t2.5\nx y z\tfour five six seven\t0\n');
    const { sts } = await succeed(['eval', model, '--against', model, '--text', pairs, ...compute]);
    expect(sts.pairs).toBe(3);
    expect(sts.spearman).toBe(sts.originalSpearman);
    expect(sts.spearman).toBeGreaterThan(0.4);
  });

  it('need an original, and a layout that holds tables', async () => {
    const alone = await runCommand(['eval', model, '--text', lines, ...compute]);
    expect(alone.err).toContain('--against ORIGINAL is needed');
    const plan = await runCommand(['plan', model, '--method', 'rtn', '--group', '32', '--embeddings', 'int8']);
    expect(plan.err).toMatch(
      /readers of the gptq layout take embeddings as they are, and would find no table\. Use --layout plain, or leave out --embeddings$/m,
    );
    const format = await runCommand(['plan', model, '--embeddings', 'int9']);
    expect(format.err).toContain('--embeddings "int9": "int9" is neither a scheme nor a number format');
    const trained = await runCommand(['plan', model, '--method', 'qaft', '--group', '32']);
    expect(trained.err).toContain('bert is an encoder');
  });
});

describe('tables of embeddings', () => {
  it('of a language model are quantized once for both uses, and its blocks learn from them', async () => {
    const out = join(folder, 'tied');
    const report = await succeed([
      ...[
        'quantize',
        demo.model,
        out,
        '--format',
        'plain',
        '--embeddings',
        'int8 g32',
        '--head',
        'int8 g32',
        '--no-eval',
      ],
      ...['--calib', demo.calibration, '--samples', '8', '--length', '32', '--group', '32'],
      ...['--refine-rounds', '0', ...compute],
    ]);
    const written = await openCheckpoint(out, [plainLayout()]);
    const original = await openCheckpoint(demo.model, []);
    try {
      const name = original.model?.embeddingTensors[0] as string;
      expect(written.quantizedModules).toContain(name.replace(/\.weight$/, ''));
      const [before, after] = [await original.weight(name), await written.weight(name)];
      const largest = before.data.reduce((most, value, i) => Math.max(most, Math.abs(value - after.data[i])), 0);
      expect(largest).toBeGreaterThan(0);
      expect(largest).toBeLessThan(0.02 * before.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
      expect(written.bytes).toBe(report.bytesAfter);
    } finally {
      await written.close();
      await original.close();
    }
    const found = await succeed([
      ...['eval', out, '--against', demo.model, '--text', demo.heldOut, '--length', '32', '--windows', '4', ...compute],
    ]);
    expect(found.kl).toBeLessThan(0.2);
    expect(found.klP99).toBeGreaterThan(found.kl);
    expect(found.klP999).toBeGreaterThanOrEqual(found.klP99);
  }, 60000);
});
