import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Checkpoint, openCheckpoint, plainLayout } from '@q/checkpoint';
import type { ModelDescription } from '@q/core';
import { createRuntime, encode, loadWeights } from '@q/models';
import { createEngine } from '@q/tfjs';
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

/** Scores `[token][class]` of texts one by one, by the description that is compared with transformers. */
async function tokenScores(checkpoint: Checkpoint, texts: readonly string[]): Promise<number[][]> {
  const { vocab } = JSON.parse(await readFile(join(model, 'tokenizer.json'), 'utf8')).model;
  const described = checkpoint.model as ModelDescription;
  const { ops, dispose } = await createEngine({ backend: 'cpu' });
  const weights = await loadWeights(ops, described, (name) => checkpoint.weight(name));
  const runtime = createRuntime(ops, weights);
  const scores = texts.flatMap((text) => {
    const ids = Int32Array.from(['[CLS]', ...text.split(' '), '[SEP]'], (word) => vocab[word]);
    const states = encode(described, runtime, ids, 1, ids.length);
    const values = [...ops.dataSync(described.tokenClassifier!.run(runtime, states))];
    return Array.from(ids, (_, i) => values.slice(3 * i, 3 * i + 3));
  });
  await dispose();
  return scores;
}

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

  it('that classify tokens are judged by the classes of each token', async () => {
    const [own, out] = [join(folder, 'tokens'), join(folder, 'tokens-8')];
    await writeTinyEncoder(own, { architectures: ['BertForTokenClassification'], num_labels: 3 });
    await succeed(['quantize', own, out, '--method', 'rtn', '--bits', '8', '--group', '32', '--format', 'plain']);
    const found = await succeed(['eval', out, '--against', own, '--text', lines, ...compute]);
    expect([found.pooling, found.cosine]).toEqual(['classifier of tokens', undefined]);
    const opened = await Promise.all([out, own].map((path) => openCheckpoint(path, [plainLayout()])));
    const texts = (await readFile(lines, 'utf8')).trim().split('\n');
    const scores = await Promise.all(opened.map((checkpoint) => tokenScores(checkpoint, texts)));
    await Promise.all(opened.map((checkpoint) => checkpoint.close()));
    const [mine, theirs] = scores as [number[][], number[][]];
    expect(mine.length).toBe(found.tokens);
    const softmax = (row: readonly number[]) => {
      const sum = row.reduce((all, x) => all + Math.exp(x), 0);
      return row.map((x) => Math.exp(x) / sum);
    };
    let [kl, same] = [0, 0];
    for (const [i, row] of theirs.entries()) {
      const [p, q] = [softmax(row), softmax(mine[i] as number[])];
      kl += p.reduce((sum, x, k) => sum + x * Math.log(x / (q[k] as number)), 0);
      if (p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q))) same++;
    }
    expect(found.agreement).toBeCloseTo(same / mine.length, 2);
    expect(found.kl / (kl / mine.length)).toBeGreaterThan(0.98);
    expect(found.kl / (kl / mine.length)).toBeLessThan(1.02);
  }, 30000);

  describe('with a head that nothing here computes', () => {
    const heads = {
      BertForMaskedLM: { 'cls.predictions.bias': [45], 'cls.predictions.transform.dense.weight': [32, 32] },
      BertForQuestionAnswering: { 'qa_outputs.bias': [2], 'qa_outputs.weight': [2, 32] },
    };
    it.each(Object.entries(heads))('%s: the head is named wherever it is lost', async (architecture, tensors) => {
      const own = join(folder, architecture);
      await writeTinyEncoder(own, { architectures: [architecture] }, tensors);
      const [weight] = Object.keys(tensors).filter((name) => name.endsWith('.weight')) as [string];
      const judged = await runCommand(['eval', own, '--against', own, '--text', lines, ...compute]);
      expect(judged.err).toContain(`note: the head ${weight}`);
      expect(judged.err).toContain(`of ${architecture} is not scored`);
      const gguf = await runCommand(['convert', own, `${own}.gguf`, '--to', 'gguf']);
      expect(gguf.err).toContain(`the head ${weight} and 1 more of ${architecture} is not written`);
      // Readers of a sentence-transformers folder take its vectors.
      const sentences = await runCommand(['convert', own, `${own} vectors`, '--to', 'onnx', '--type', 'q8']);
      expect([sentences.code, sentences.err]).toEqual([0, expect.stringContaining(`the head ${weight}`)]);
      await rm(join(own, 'modules.json'));
      for (const method of [[], ['--method', 'rtn']]) {
        const refused = await runCommand(['convert', own, `${own} onnx`, '--to', 'onnx', '--type', 'q8', ...method]);
        expect(refused.code).toBe(1);
        expect(refused.err).toContain(`${own}: config.json states ${architecture}, and its head (${weight}`);
        expect(refused.err).toContain('set "architectures": ["BertModel"]');
        expect(await stat(`${own} onnx`).catch(() => 'absent')).toBe('absent');
      }
      const base = `${own} base`;
      await cp(own, base, { recursive: true });
      const config = JSON.parse(await readFile(join(own, 'config.json'), 'utf8'));
      await writeFile(join(base, 'config.json'), JSON.stringify({ ...config, architectures: ['BertModel'] }));
      const written = await runCommand(['convert', base, `${base} onnx`, '--to', 'onnx', '--type', 'q8']);
      expect([written.code, written.err]).toEqual([0, expect.stringContaining(`the head ${weight}`)]);
    });
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
