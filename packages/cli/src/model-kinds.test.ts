import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readU16Windows } from '@q/calib';
import { dequantize, type ModelDescription, parseScheme, quantize, type Tensor, weightedSearch } from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { createRuntime, encode, loadWeights } from '@q/models';
import { createEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModel } from './open-model.js';
import { builtin } from './registry.js';
import { runCommand } from './testing/run-command.js';
import { tinyDecoders } from './testing/tiny-decoders.js';
import { writeTinyModel } from './testing/tiny-mixture.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-kinds-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const json = async (...argv: readonly string[]) => {
  const { code, out, err } = await runCommand([...argv, '--json']);
  expect(code, err).toBe(0);
  return JSON.parse(out);
};
const ids = (model: string) => ['--text', join(model, 'ids.u16'), '--length', '16', '--windows', '16'];
const gptq = (model: string) => [
  ...['--calib', join(model, 'ids.u16'), '--length', '16', '--samples', '24', '--bits', '8', '--group', '16'],
  ...['--layout', 'plain', '--no-eval'],
];
const shared = {
  ...{ hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ max_position_embeddings: 64, rms_norm_eps: 1e-5, vocab_size: 48, head_dim: 16 },
};

describe.each([
  ['gemma3, tied, gains from 1', 'gemma3, windows by pattern'],
  ['gemma2, soft caps', 'gemma2, norms around both parts, soft caps'],
])('%s', (name, key) => {
  it.each([
    ['plain', ['--embeddings', 'int8 g16']],
    ['gptq', []],
    ['compressed-tensors', ['--sym']],
  ] as const)('a written folder (%s) scores what its weights score in memory', async (layout, more) => {
    const model = join(folder, name);
    await writeTinyModel(model, tinyDecoders[key] as Record<string, unknown>).catch(() => {});
    const out = join(folder, `${name} ${layout}`);
    const report = await json(
      ...[
        'quantize',
        model,
        out,
        '--method',
        'rtn',
        '--group',
        '16',
        '--layout',
        layout,
        ...more,
        ...ids(model).slice(2),
      ],
      ...['--eval-text', join(model, 'ids.u16')],
    );
    const file = await json('eval', out, '--against', model, ...ids(model));
    expect(file.perplexity).toBe(report.evaluation.after.perplexity);
    const source = await openModel(model, builtin);
    const written = await openModel(out, builtin);
    const rounded = new Set(written.quantizedModules);
    expect(rounded.size).toBe(14 + (layout === 'plain' ? 1 : 0));
    const weight = async (tensor: string): Promise<Tensor<'f32'>> => {
      const module = tensor.replace(/\.weight$/, '');
      const values = await source.weight(tensor);
      const own = source.model!.ties.get(tensor)?.replace(/\.weight$/, '') ?? module;
      if (!rounded.has(own)) return values;
      const scheme =
        own === 'model.embed_tokens' ? parseScheme('int8 g16', builtin) : (await written.quantized(own))!.scheme;
      return dequantize(quantize(values, scheme, { fit: weightedSearch() }));
    };
    const windows = readU16Windows((await readFile(join(model, 'ids.u16'))).subarray(0, 2 * 16 * 16), 16);
    const engine = await createEngine({ backend: 'cpu' });
    const memory = await evaluate(await runWindows(source.model as ModelDescription, engine, weight, windows), windows);
    expect(Math.abs(memory.perplexity / file.perplexity - 1)).toBeLessThan(1e-5);
    await engine.dispose();
    await source.close();
    await written.close();
  });
});

describe('models without the usual head', () => {
  it('a decoder without its head (LlamaModel) is calibrated, and judged by its hidden states', async () => {
    const model = join(folder, 'headless');
    const config = { ...shared, model_type: 'llama', architectures: ['LlamaModel'], tie_word_embeddings: false };
    await writeTinyModel(model, config, ['norm.weight']);
    const source = await openModel(model, builtin);
    expect([...source.tensors.keys()]).toContain('layers.0.self_attn.q_proj.weight');
    expect(source.model?.head).toBeUndefined();
    await source.close();
    const { layers } = await json('quantize', model, join(folder, 'headless q'), ...gptq(model));
    expect(layers.length).toBe(14);
    const ids = Int32Array.from({ length: 2 * 12 }, (_, i) => (7 * i * i + 3) % 48);
    const { ops, dispose } = await createEngine({ backend: 'cpu' });
    const states: Float32Array[] = [];
    for (const path of [model, join(folder, 'headless q')]) {
      const opened = await openModel(path, builtin);
      const weights = await loadWeights(ops, opened.model!, (name) => opened.weight(name));
      states.push(ops.dataSync(encode(opened.model!, createRuntime(ops, weights), ids, 2, 12)));
      await opened.close();
    }
    await dispose();
    const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
    const [before, after] = states as [Float32Array, Float32Array];
    expect(dot(before, after) / Math.sqrt(dot(before, before) * dot(after, after))).toBeGreaterThan(0.999);
  });

  it.each(['llama', 'qwen3'])(
    'a classifier (%s ForSequenceClassification) is calibrated, its scores kept',
    async (type) => {
      const model = join(folder, `${type} classifier`);
      const config = {
        ...{ ...shared, model_type: type, architectures: [`${type}ForSequenceClassification`], pad_token_id: 47 },
        ...{ id2label: { 0: 'a', 1: 'b', 2: 'c' }, tie_word_embeddings: false },
      };
      config.architectures = [type === 'llama' ? 'LlamaForSequenceClassification' : 'Qwen3ForSequenceClassification'];
      await writeTinyModel(model, config);
      const out = join(folder, `${type} classifier q`);
      const { layers } = await json('quantize', model, out, ...gptq(model));
      expect(layers.length).toBe(14);
      const written = await openModel(out, builtin);
      expect(written.model?.classifier?.size).toBe(3);
      expect(written.tensors.get('score.weight')?.dtype).toBe('F32');
      await written.close();
    },
  );
});

describe.each([
  ['gemma3', 'model.language_model.', { model_type: 'gemma3' }, 'gemma3_text'],
  ['gemma3', 'language_model.model.', { model_type: 'gemma3' }, 'gemma3_text'],
  ['mistral3', 'model.language_model.', { model_type: 'mistral3' }, 'mistral'],
] as const)('a vision-language folder of %s, text below %s', (type, root, whole, part) => {
  it('has its text part calibrated and judged, and its vision part copied', async () => {
    const model = join(folder, `${type} ${root}`);
    const config = {
      ...whole,
      text_config: {
        ...shared,
        model_type: part,
        tie_word_embeddings: true,
        sliding_window: 4,
        query_pre_attn_scalar: 16,
      },
      vision_config: { hidden_size: 8 },
      tie_word_embeddings: true,
    };
    const vision = {
      'model.vision_tower.layers.0.q_proj.weight': [8, 8],
      'model.vision_tower.patch.weight': [8, 3, 2, 2],
    };
    await writeTinyModel(model, config, [`${root}norm.weight`], vision);
    const out = join(folder, `${type} ${root} q`);
    const { layers, notes } = await json('quantize', model, out, ...gptq(model));
    expect(layers.length).toBe(14);
    expect(layers[0].module.startsWith(`${root}layers.0.`)).toBe(true);
    expect(notes.join('\n')).toContain('vision_tower');
    expect((await json('eval', out, '--against', model, ...ids(model))).kl).toBeLessThan(0.01);
    const [before, after] = await Promise.all([model, out].map((path) => openModel(path, builtin)));
    for (const name of Object.keys(vision)) expect(await after!.readBytes(name)).toEqual(await before!.readBytes(name));
    await before!.close();
    await after!.close();
  });
});
