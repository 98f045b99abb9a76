import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeBf16, FormatError, int4, perGroup, quantize, scheme, type Tensor, tensor } from '@q/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bitsandbytesInt8Layout } from './bitsandbytes-int8/index.js';
import { openCheckpoint } from './checkpoint.js';
import { compressedTensorsInt8Layout } from './compressed-tensors-int8/index.js';
import { gptqLayout } from './gptq/index.js';
import { tinyConfig, tinyTensors, writeModelFolder } from './testing/tiny-llama.js';
import { createCheckpointWriter, planCheckpoint } from './writer.js';

const layouts = [gptqLayout(), compressedTensorsInt8Layout(), bitsandbytesInt8Layout()];
const query = 'model.layers.0.self_attn.q_proj';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-folder-'));
});
afterEach(() => rm(folder, { recursive: true }));

const open = (path = folder) => openCheckpoint(path, layouts);
const refusal = async (path = folder): Promise<Error> =>
  open(path).then(
    () => new Error('it was opened'),
    (error) => error,
  );

/** Copies the opened folder without quantizing anything. */
async function copyOf(path: string): Promise<string> {
  const source = await open(path);
  const out = join(folder, 'out');
  await mkdir(out);
  const layout = gptqLayout();
  const plan = planCheckpoint(source, layout, [], { config: source.configChanges });
  const writer = await createCheckpointWriter(source, out, layout, plan);
  for (const name of plan.copied) await writer.copyTensor(name);
  await writer.finish({ method: 'none', options: {} });
  await source.close();
  return out;
}

describe('config.json', () => {
  it('keeps the text of its numbers in a written folder, those of Python too', async () => {
    const numbers = '"a": 0.0, "b": 1e-05, "c": Infinity, "d": [-Infinity, NaN, 1.50], "e": 12345678901234567890';
    await writeModelFolder(folder, `{${JSON.stringify(tinyConfig).slice(1, -1)}, ${numbers}}`);
    const source = await open();
    expect(source.config).toMatchObject({ a: 0, c: Number.POSITIVE_INFINITY });
    await source.close();
    const text = await readFile(join(await copyOf(folder), 'config.json'), 'utf8');
    for (const member of numbers.split(/, (?=")/)) expect(text).toContain(member);
  });

  it.each([
    ['{"model_type": "llama",}', /line 1, column 24: a key was expected, found "}"/],
    ['{"a": Nan}', /column 7: a value was expected, found "Nan}"/],
    ['{"a": 01}', /',' or '}' was expected/],
    ['[]', /is not a JSON object/],
    [`{"a": ${'['.repeat(100_000)}`, /nested deeper than 256/],
  ])('%.40s is refused with its place', async (text, message) => {
    await writeModelFolder(folder, text);
    const error = await refusal();
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain(join(folder, 'config.json'));
  });

  it('is held against the tensors before anything of its size is made', async () => {
    await writeModelFolder(folder, { ...tinyConfig, num_hidden_layers: 1e9 });
    expect((await refusal()).message).toMatch(/"num_hidden_layers" is 1000000000, but the files hold 12 tensors/);
    await writeModelFolder(folder, { ...tinyConfig, model_type: 'mixtral', num_local_experts: 1e9 });
    expect((await refusal()).message).toMatch(/"num_local_experts" is 1000000000/);
  });

  it.each([
    ['(a|a|b)*$', undefined],
    ['(?i)MODEL\\.LAYERS', undefined],
    ['(?<=x)y', /dynamic: .*without backtracking/],
  ])('has expressions that are matched without backtracking: %s', async (expression, message) => {
    const dynamic = { [`+:${expression}`]: { bits: 8 } };
    const config = { quant_method: 'gptq', bits: 4, group_size: 16, dynamic };
    await writeModelFolder(folder, { ...tinyConfig, quantization_config: config });
    const started = process.cpuUsage();
    const found = await open().then(
      (checkpoint) => checkpoint.close(),
      (error: Error) => error,
    );
    expect(process.cpuUsage(started).user / 1e6).toBeLessThan(2);
    if (message) expect((found as Error).message).toMatch(message);
    else expect(found).toBeUndefined();
  });
});

describe('a model folder', () => {
  it('may be of links, as in the cache of the hub, with folders of its own', async () => {
    const [blobs, snapshot] = [join(folder, 'blobs'), join(folder, 'snapshots')];
    await mkdir(blobs);
    await mkdir(join(snapshot, '1_Pooling'), { recursive: true });
    await mkdir(join(snapshot, 'onnx'));
    await writeModelFolder(blobs);
    for (const name of ['tokenizer.json', 'generation_config.json', 'pooling'])
      await writeFile(join(blobs, name), name);
    for (const name of ['config.json', 'model.safetensors', 'tokenizer.json', 'generation_config.json'])
      await symlink(join('..', 'blobs', name), join(snapshot, name));
    await symlink(join('..', '..', 'blobs', 'pooling'), join(snapshot, '1_Pooling', 'config.json'));
    await writeFile(join(snapshot, 'onnx', 'model.onnx'), 'x');
    await symlink('nowhere', join(snapshot, 'lost.txt'));
    await symlink('..', join(snapshot, 'above'));
    const source = await open(snapshot);
    expect(source.otherFiles).toEqual(['1_Pooling/config.json', 'generation_config.json', 'tokenizer.json']);
    expect(source.notes.map((note) => note.split(' ')[0])).toEqual(['above', 'lost.txt', 'onnx/']);
    await source.close();
    const out = await copyOf(snapshot);
    for (const name of ['tokenizer.json', 'generation_config.json'])
      expect(await readFile(join(out, name), 'utf8')).toBe(name);
    expect(await readFile(join(out, '1_Pooling', 'config.json'), 'utf8')).toBe('pooling');
  });

  it('has a head of its own where the file has one, whatever the config says', async () => {
    await writeModelFolder(folder, { ...tinyConfig, tie_word_embeddings: true });
    const source = await open();
    expect(source.model?.ties.size).toBe(0);
    expect((await source.weight('lm_head.weight')).data).toEqual(tinyTensors().get('lm_head.weight')?.data);
    expect(source.notes).toEqual([expect.stringMatching(/^lm_head\.weight has values of its own/)]);
    await source.close();
    const config = JSON.parse(await readFile(join(await copyOf(folder), 'config.json'), 'utf8'));
    expect(config.tie_word_embeddings).toBe(false);
  });

  it('stays tied where the head in the file is that of the embeddings', async () => {
    const tensors = tinyTensors();
    tensors.set('lm_head.weight', tensors.get('model.embed_tokens.weight') as Tensor);
    await writeModelFolder(folder, { ...tinyConfig, tie_word_embeddings: true }, tensors);
    const source = await open();
    expect([source.model?.ties.size, source.notes]).toEqual([1, []]);
    await source.close();
  });

  it.each(['head', 'head and prefix'])('may lack its %s: tensors are read, the model is not run', async (what) => {
    const tensors = new Map(
      [...tinyTensors()]
        .filter(([name]) => name !== 'lm_head.weight')
        .map(([name, each]) => [what === 'head' ? name : name.replace('model.', ''), each]),
    );
    await writeModelFolder(folder, tinyConfig, tensors);
    const source = await open();
    expect((await source.weight([...tensors.keys()][2])).data).toEqual([...tensors.values()][2].data);
    await source.close();
    tensors.delete([...tensors.keys()][3]);
    await writeModelFolder(folder, tinyConfig, tensors);
    expect((await refusal()).message).toMatch(/is absent: llama needs it/);
  });

  it.each([
    ['i8', /q_proj\.weight of dtype I8, with .*q_proj\.weight_scale beside it, holds codes/],
    ['u8', /dtype U8/],
    ['f8_e4m3', /dtype F8_E4M3.*convert it to bf16 first/],
  ] as const)('takes no codes of %s for weights', async (dtype, message) => {
    const tensors = tinyTensors();
    tensors.set(`${query}.weight`, tensor(dtype, [16, 16]));
    tensors.set(`${query}.weight_scale`, tensor('f32', [16, 1]));
    await writeModelFolder(folder, tinyConfig, tensors);
    expect((await refusal()).message).toMatch(message);
    // A model that no description is known of is opened; its values cannot be had either.
    await writeModelFolder(folder, { model_type: 'other' }, tensors);
    const source = await open();
    await expect(source.weight(`${query}.weight`)).rejects.toThrow(message);
    await source.close();
  });
});

describe('settings of quantized linears', () => {
  const layout = gptqLayout();
  const planned = scheme({ format: int4, granularity: perGroup(8) });
  const linear = { module: query, inFeatures: 16, outFeatures: 16, transposed: false, bias: false };
  const weight = tinyTensors().get(`${query}.weight`) as Tensor<'f32'>;
  const encoded = () => {
    const tensors = tinyTensors();
    tensors.delete(`${query}.weight`);
    for (const [name, part] of layout.encode({ linear, scheme: planned }, quantize(weight, planned)))
      tensors.set(name, part);
    return tensors;
  };
  const settings = { bits: 4, group_size: 8, sym: true };
  const values = async () => {
    const source = await open();
    const { data } = await source.weight(`${query}.weight`);
    await source.close();
    return { data, notes: source.notes };
  };

  it('are read from quantize_config.json alone, and missed by name', async () => {
    await writeModelFolder(
      folder,
      { ...tinyConfig, quantization_config: { quant_method: 'gptq', ...settings } },
      encoded(),
    );
    const { data } = await values();
    await writeModelFolder(folder, tinyConfig, encoded());
    expect((await refusal()).message).toMatch(/q_proj\.qweight holds packed codes.*quantize_config\.json/);
    await writeFile(join(folder, 'quantize_config.json'), JSON.stringify(settings));
    expect(await values()).toEqual({ data, notes: [expect.stringMatching(/read from quantize_config\.json/)] });
  });

  it.each(['bf16', 'f32'] as const)('do not decide how scales of %s are decoded', async (dtype) => {
    const tensors = encoded();
    // Powers of two, which every float dtype holds.
    const scales = Float32Array.from({ length: 32 }, (_, i) => 2 ** -(4 + (i % 3)));
    const config = { ...tinyConfig, quantization_config: { quant_method: 'gptq', ...settings } };
    const name = `${query}.scales`;
    tensors.set(name, tensor('f32', [2, 16], scales));
    await writeModelFolder(folder, config, tensors);
    const { data } = await values();
    tensors.set(name, dtype === 'f32' ? tensor('f32', [2, 16], scales) : tensor('bf16', [2, 16], encodeBf16(scales)));
    await writeModelFolder(folder, config, tensors);
    expect((await values()).data).toEqual(data);
    const codes = tensors.get(`${query}.qweight`)?.data as Int32Array;
    // Row 0, columns 0 to 7 are the first word: code - 8, times the scale of the first group.
    for (let i = 0; i < 8; i++) expect(data[i]).toBe((((codes[0] >>> (4 * i)) & 15) - 8) * scales[0]);
  });

  it.each([
    ['another group size', { ...settings, group_size: 16 }, undefined, /scales: has 2 rows.*groups of 16 have 1/],
    ['scales of integers', settings, tensor('i16', [2, 16]), /scales: has dtype i16.*f16, bf16, f32 are/],
    ['a scale of NaN', settings, tensor('f32', [2, 16], new Float32Array(32).fill(Number.NaN)), /element 0 is NaN/],
  ])('are refused with %s', async (_, own, scales, message) => {
    const tensors = encoded();
    if (scales) tensors.set(`${query}.scales`, scales as Tensor);
    await writeModelFolder(folder, { ...tinyConfig, quantization_config: { quant_method: 'gptq', ...own } }, tensors);
    await expect(values()).rejects.toThrow(message);
    await expect(values()).rejects.toThrow(folder);
  });

  it('of bitsandbytes may lack a quant_method', async () => {
    const tensors = tinyTensors();
    tensors.set(`${query}.weight`, tensor('i8', [16, 16], new Int8Array(256).fill(2)));
    tensors.set(`${query}.SCB`, tensor('f32', [16], new Float32Array(16).fill(127)));
    await writeModelFolder(folder, { ...tinyConfig, quantization_config: { load_in_8bit: true } }, tensors);
    expect((await values()).data).toEqual(new Float32Array(256).fill(2));
  });

  it.each([
    ['zero points of 0', [16, 1], new Int8Array(16), undefined],
    ['scales in one dimension', [16], undefined, undefined],
    ['another zero point', [16, 1], new Int8Array(16).fill(1), /asymmetric/],
  ])('of compressed-tensors may have %s', async (_, shape, zeros, message) => {
    const tensors = tinyTensors();
    tensors.set(`${query}.weight`, tensor('i8', [16, 16], new Int8Array(256).fill(3)));
    tensors.set(`${query}.weight_scale`, tensor('f32', shape, new Float32Array(16).fill(0.5)));
    if (zeros) tensors.set(`${query}.weight_zero_point`, tensor('i8', [16, 1], zeros));
    const config = { quant_method: 'compressed-tensors', format: 'int-quantized' };
    await writeModelFolder(folder, { ...tinyConfig, quantization_config: config }, tensors);
    if (message) await expect(values()).rejects.toThrow(message);
    else expect((await values()).data).toEqual(new Float32Array(256).fill(1.5));
  });
});

it('a single file counts, not the shards of an index beside it', async () => {
  await writeModelFolder(folder, tinyConfig, tinyTensors(2));
  const shard = 'model-00001-of-00001.safetensors';
  await rename(join(folder, 'model.safetensors'), join(folder, shard));
  const map = Object.fromEntries([...tinyTensors().keys()].map((name) => [name, shard]));
  await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
  await writeModelFolder(folder);
  const source = await open();
  expect((await source.weight(`${query}.weight`)).data).toEqual(tinyTensors().get(`${query}.weight`)?.data);
  expect(source.notes).toHaveLength(1);
  await source.close();
});

describe('a matrix of 16 bits', () => {
  const table = 'model.embed_tokens.weight';

  /** A tied folder whose table and one more linear are bf16. */
  async function write(edit = (_patterns: Uint16Array) => {}): Promise<Uint16Array> {
    const tensors = tinyTensors();
    for (const name of [table, `${query}.weight`]) {
      const { shape, data } = tensors.get(name) as Tensor<'f32'>;
      tensors.set(name, tensor('bf16', shape, encodeBf16(data)));
    }
    tensors.delete('lm_head.weight');
    const patterns = tensors.get(table)?.data as Uint16Array;
    edit(patterns);
    await writeModelFolder(folder, { ...tinyConfig, tie_word_embeddings: true }, tensors);
    return patterns;
  }

  it('is given as it is stored, by rows, under both names of a tied table', async () => {
    const patterns = await write();
    const source = await open();
    for (const name of [table, 'lm_head.weight']) {
      const matrix = source.halves(name);
      expect(matrix).toMatchObject({ dtype: 'bf16', shape: [24, 16] });
      expect(await matrix?.rows(3, 7)).toEqual(patterns.subarray(48, 112));
      expect(await matrix?.rows(23, 24)).toEqual(patterns.subarray(368));
    }
    expect(source.halves(`${query}.weight`)?.shape).toEqual([16, 16]);
    for (const name of ['model.norm.weight', 'model.layers.0.mlp.up_proj.weight', 'absent'])
      expect(source.halves(name)).toBeUndefined();
    await source.close();
  });

  it('is refused where it is not finite', async () => {
    await write((patterns) => {
      patterns[50] = 0xff80;
    });
    const source = await open();
    expect(await source.halves(table)?.rows(0, 3)).toHaveLength(48);
    await expect(source.halves(table)?.rows(3, 24)).rejects.toThrow(
      /embed_tokens.weight holds -Infinity at element 50:/,
    );
    await source.close();
  });
});
