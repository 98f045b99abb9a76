import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFiles, observedFiles } from '@q/durable-files';
import { importanceMatrix, readGgufHeader, readImportance } from '@q/gguf';
import { fromBytes } from '@q/safetensors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeChangedDemo } from './testing/changed-demo.js';
import { demo } from './testing/demo.js';
import { runCommand } from './testing/run-command.js';

let folder: string;
let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-cli-convert-'));
  out = join(folder, 'out.gguf');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const calibration = ['--calib', demo.calibration, '--samples', '4', '--length', '64', '--threads', '1'];

describe('q convert --to gguf', () => {
  it('makes a file of the demo model, with its tokenizer', async () => {
    const { code, err } = await runCommand(['convert', demo.model, out, '--to', 'gguf', '--type', 'q4_0', '--json']);
    expect(err).not.toContain('error');
    expect(code).toBe(0);
    const { metadata, tensors } = await readGgufHeader(fromBytes(await readFile(out)));
    expect(metadata.get('general.architecture')?.value).toBe('llama');
    expect(metadata.get('tokenizer.ggml.model')?.value).toBe('gpt2');
    expect(tensors.get('blk.0.ffn_up.weight')?.type.name).toBe('Q4_0');
    expect(tensors.get('blk.0.attn_norm.weight')?.type.name).toBe('F32');
  });

  it('solves codes with --method gptq, each layer nearer than the encoder', async () => {
    const type = ['--to', 'gguf', '--type', 'q4_0', '--method', 'gptq', '--json'];
    const { code, out: printed, err } = await runCommand(['convert', demo.model, out, ...type, ...calibration]);
    expect(err).not.toContain('error');
    expect(code).toBe(0);
    const { layers } = JSON.parse(printed) as { layers: { module: string; loss: number; encoderLoss: number }[] };
    expect(layers.length).toBeGreaterThan(0);
    for (const { loss, encoderLoss } of layers) expect(loss).toBeLessThan(encoderLoss);
  });

  it('goes on from the layers that an interrupted run has solved, to the same bytes', async () => {
    const options = (to: string) => ['convert', demo.model, to, '--to', 'gguf', '--type', 'q4_0', '--method', 'gptq'];
    const whole = join(folder, 'whole.gguf');
    expect((await runCommand([...options(whole), ...calibration])).code).toBe(0);
    const interruption = new AbortController();
    let renamed = 0;
    const files = observedFiles(nodeFiles, ({ kind, path }) => {
      if (kind === 'rename' && path.includes('.solved') && ++renamed === 6) interruption.abort();
    });
    const first = await runCommand([...options(out), ...calibration], interruption.signal, files);
    expect(first.code).toBe(130);
    expect(first.err).toContain('out.gguf.solved holds what is solved: the same command goes on from there');
    expect((await readdir(folder)).sort()).toEqual(['out.gguf.solved', 'whole.gguf']);
    // Other options are no way to go on.
    const other = await runCommand([...options(out), '--calib', demo.calibration, '--samples', '2', '--length', '32']);
    expect(other.err).toContain('out.gguf.solved: holds weights that were solved with another model, text');
    let solvedAgain = 0;
    const counted = observedFiles(nodeFiles, ({ kind, path }) => {
      if (kind === 'rename' && path.includes('.solved')) solvedAgain++;
    });
    expect((await runCommand([...options(out), ...calibration], undefined, counted)).code).toBe(0);
    // The first one was the record of the run.
    expect(solvedAgain).toBe(4 * 7 - 5);
    expect((await readFile(out)).equals(await readFile(whole))).toBe(true);
    expect((await readdir(folder)).sort()).toEqual(['out.gguf', 'whole.gguf']);
  });

  it('collects an importance matrix, which converting reads', async () => {
    const matrix = join(folder, 'imatrix.gguf');
    expect((await runCommand(['imatrix', demo.model, matrix, ...calibration])).code).toBe(0);
    const data = await readImportance(fromBytes(await readFile(matrix)));
    expect(data.chunks).toBe(4);
    const weights = importanceMatrix(data).get('blk.0.ffn_down.weight');
    expect(weights?.every((weight) => weight > 0)).toBe(true);
    const type = ['--to', 'gguf', '--type', 'q4_0', '--imatrix', matrix];
    expect((await runCommand(['convert', demo.model, out, ...type])).code).toBe(0);
  });

  it('chooses types of single matrices in the bytes of a mix', async () => {
    const limit = join(folder, 'limit.gguf');
    expect((await runCommand(['convert', demo.model, limit, '--to', 'gguf', '--type', 'q4_k_m'])).code).toBe(0);
    const options = ['--to', 'gguf', '--within', 'q4_k_m', '--json', ...calibration];
    const { code, err } = await runCommand(['convert', demo.model, out, ...options]);
    expect(err).toContain('types within');
    expect(code).toBe(0);
    const [own, mix] = [await readFile(out), await readFile(limit)];
    expect(own.length).toBeLessThanOrEqual(mix.length);
    const types = async (bytes: Uint8Array) =>
      [...(await readGgufHeader(fromBytes(bytes))).tensors.values()].map(({ type }) => type.name);
    expect(await types(own)).not.toEqual(await types(mix));
    const kl = async (file: string) => {
      const flags = ['--against', demo.model, '--text', demo.calibration, '--windows', '4', '--length', '64', '--json'];
      return JSON.parse((await runCommand(['eval', file, ...flags])).out).kl as number;
    };
    expect(await kl(out)).toBeLessThan(await kl(limit));
  });

  it('chooses types of all matrices within a size, embeddings and head included', async () => {
    const sized = async (size: number) => {
      const options = ['--to', 'gguf', '--within', `${size}B`, '--json', ...calibration];
      const { code, err } = await runCommand(['convert', demo.model, out, ...options]);
      if (code !== 0) return { least: Number(/the smallest file that its types give has (\d+) bytes/.exec(err)?.[1]) };
      const bytes = await readFile(out);
      await rm(out);
      const types = [...(await readGgufHeader(fromBytes(bytes))).tensors].map(([name, { type }]) => [name, type.name]);
      return { bytes: bytes.length, types: new Map(types as [string, string][]) };
    };
    const { least = 0 } = await sized(1000);
    const [small, large] = [await sized(least), await sized(1.6 * least)];
    expect(small.bytes).toBeLessThanOrEqual(least);
    expect(small.bytes).toBeGreaterThan(least - 64);
    expect(large.bytes).toBeLessThanOrEqual(1.6 * least);
    expect(large.bytes).toBeGreaterThan(1.4 * least);
    for (const name of ['token_embd.weight', 'blk.0.ffn_down.weight'])
      expect(large.types?.get(name), name).not.toBe(small.types?.get(name));
  });

  it.each([
    ['types beside --within', ['--to', 'gguf', '--within', 'q2_k', '--type', 'q4_0'], /--type q4_0: --within q2_k/],
    ['--within without text', ['--to', 'gguf', '--within', 'q2_k'], /--within q2_k: needs --calib/],
    [
      'a size without a unit that is known',
      ['--to', 'gguf', '--within', '7XB', '--calib', 'X'],
      /--within 7XB: a size/,
    ],
    ['no target', [], /--to is missing/],
    ['a target that is unknown', ['--to', 'tflite'], /--to tflite/],
    ['a type that is unknown', ['--to', 'gguf', '--type', 'q9'], /--type q9/],
    [
      'an adapter that a GGUF file would not have',
      ['--to', 'gguf', '--adapter', 'DIR'],
      /--adapter: --to gguf makes no/,
    ],
    [
      'a rule that a GGUF file would not follow',
      ['--to', 'gguf', '--keep', '*q_proj'],
      /--keep: --to gguf makes no use/,
    ],
    ['an adapter without a method for ONNX', ['--to', 'onnx', '--adapter', 'DIR'], /--adapter: needs --method/],
    ['a setting of a method without one', ['--to', 'onnx', '--act-order'], /--act-order: needs --method/],
    ['options of the other target', ['--to', 'onnx', '--imatrix', 'FILE'], /--imatrix: is of --to gguf/],
    ['options of the other target', ['--to', 'gguf', '--portable'], /--portable: is of --to onnx/],
    ['a method without text', ['--to', 'gguf', '--type', 'q4_0', '--method', 'gptq'], /--calib FILE is needed/],
  ])('refuses %s', async (_, options, message) => {
    const { code, err } = await runCommand(['convert', demo.model, out, ...options]);
    expect(code).toBe(1);
    expect(err).toMatch(message);
  });

  it('says which matrices do not get the type, and why', async () => {
    const words =
      '28 of 29 matrices are not TQ2_0: rows of 128 and 352 values are not multiples of its block of 256: 28 are Q4_0';
    const type = ['--to', 'gguf', '--type', 'tq2_0'];
    expect((await runCommand(['convert', demo.model, out, ...type])).err).toContain(`note: ${words}\n`);
    await rm(out);
    const { out: printed } = await runCommand(['convert', demo.model, out, ...type, '--json']);
    expect(JSON.parse(printed).notes).toEqual([words]);
    const { tensors } = await readGgufHeader(fromBytes(await readFile(out)));
    expect([...tensors.values()].filter(({ type: { name } }) => name === 'Q4_0')).toHaveLength(28);
  });

  it.each([
    ['convert', ['--to', 'gguf'], /plain: its name does not end in \.gguf: .*: write .*plain\.gguf/],
    ['imatrix', calibration, /plain: its name does not end in \.gguf or \.dat: .*: write .*plain\.gguf/],
  ])('refuses to %s to a name that readers do not know', async (command, options, message) => {
    const { code, err } = await runCommand([command, demo.model, join(folder, 'plain'), ...options]);
    expect(err).toMatch(message);
    expect(code).toBe(1);
    expect(await readdir(folder)).toEqual([]);
  });

  it('does not write over a file', async () => {
    await writeFile(out, 'mine');
    const { code, err } = await runCommand(['convert', demo.model, out, '--to', 'gguf']);
    expect(code).toBe(1);
    expect(err).toMatch(/is there already/);
    expect(await readFile(out, 'utf8')).toBe('mine');
  });
});

it.each(['gguf', 'onnx'])('says which weights count before it makes a file for %s', async (target) => {
  const model = join(folder, 'model');
  await cp(demo.model, model, { recursive: true });
  await writeFile(
    join(model, 'model.safetensors.index.json'),
    '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}',
  );
  const { code, err } = await runCommand(['convert', model, out, '--to', target]);
  expect(code, err).toBe(0);
  expect(err).toContain(`note: ${model}: model.safetensors is read, as in transformers`);
});

it.each(['f16', 'q4_0', 'q8_0', 'q4_k_m'])(
  'keeps a matrix whose values %s does not hold, and says so',
  async (type) => {
    const model = join(folder, 'small');
    const small = 'model.layers.0.mlp.up_proj.weight';
    await writeChangedDemo(model, (values, _, name) => {
      if (name === small) for (let i = 0; i < values.length; i++) values[i] *= 1e-7;
    });
    const { code, err } = await runCommand(['convert', model, out, '--to', 'gguf', '--type', type]);
    expect(code, err).toBe(0);
    expect(err).toMatch(/note: .*small: tensor blk\.0\.ffn_up\.weight has no value above .*It is kept in f32/);
    const { tensors } = await readGgufHeader(fromBytes(await readFile(out)));
    expect(tensors.get('blk.0.ffn_up.weight')?.type.name).toBe('F32');
    expect(tensors.get('blk.0.ffn_gate.weight')?.type.name).not.toBe('F32');
  },
);
