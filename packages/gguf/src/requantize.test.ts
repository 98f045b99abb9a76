import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom, encodeBf16, encodeF16, FormatError, NumericError, SchemeError } from '@q/core';
import { fromBytes, openFile, WriteError } from '@q/safetensors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { q4_K } from './blocks/affine-super-block.js';
import { bf16Block, f16Block, f32Block } from './blocks/float-blocks.js';
import { q6_K } from './blocks/q6-k.js';
import { q8_0 } from './blocks/q8-0.js';
import { q4_0 } from './blocks/symmetric-block.js';
import { planGgufFile } from './file-plan.js';
import { createGgufWriter } from './file-writer.js';
import { readGgufHeader } from './header.js';
import { LostTensorError } from './lost-tensor.js';
import type { GgufValue } from './metadata.js';
import { readGgufTensor } from './read-tensor.js';
import { requantize } from './requantize.js';
import { planRequantize, type RequantizeOptions } from './requantize-plan.js';
import { type GgufTensorType, ggufTensorTypeFor } from './tensor-type.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-gguf-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const [f32, f16, bf16] = [f32Block, f16Block, bf16Block].map(ggufTensorTypeFor);
const random = createRandom('gguf');
const shapes: readonly (readonly [name: string, type: GgufTensorType, shape: readonly number[]])[] = [
  ['token_embd.weight', f16, [40, 512]],
  ['blk.0.attn_norm.weight', f32, [512]],
  ['blk.0.attn_q.weight', f16, [64, 512]],
  ['blk.0.attn_q.bias', f32, [512]],
  ['blk.0.ffn_up.weight', bf16, [32, 512]],
  ['blk.0.ffn_down.weight', f32, [128, 96]],
  ['blk.0.ffn_gate_inp.weight', f32, [4, 512]],
  ['blk.0.ffn_gate_exps.weight', f16, [3, 4, 256]],
  ['output.weight', f16, [40, 512]],
];
const metadata = new Map<string, GgufValue>([
  ['general.architecture', { type: 'string', value: 'llama' }],
  ['general.file_type', { type: 'u32', value: 1 }],
  ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: ['<s>', 'ä'] }],
]);

/** A file, and the values in it. */
async function source(left: (name: string) => boolean = () => true, change?: (name: string, x: Float32Array) => void) {
  const tensors = shapes.filter(([name]) => left(name)).map(([name, type, shape]) => ({ name, type, shape }));
  const plan = planGgufFile(metadata, tensors);
  const bytes = new Uint8Array(plan.byteLength);
  bytes.set(plan.header);
  const values = new Map<string, Float32Array>();
  for (const { name, type, shape } of tensors) {
    const x = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal() * 0.02);
    change?.(name, x);
    const data = type === f32 ? x : type === f16 ? encodeF16(x) : encodeBf16(x);
    const { begin } = plan.places.get(name) as { begin: number };
    bytes.set(new Uint8Array(data.buffer, 0, data.byteLength), begin);
    const stored = new Float32Array(x.length);
    type.format?.decode(new Uint8Array(data.buffer, 0, data.byteLength), stored);
    values.set(name, stored);
  }
  return { bytes, values };
}

async function convert(bytes: Uint8Array, options: RequantizeOptions, path: string): Promise<Uint8Array> {
  const from = fromBytes(bytes, 'in.gguf');
  await requantize(from, planRequantize(await readGgufHeader(from), options, 'in.gguf'), path);
  return readFile(path);
}

describe('requantize', () => {
  it('encodes matrices, copies the rest, and says what the file holds', async () => {
    const { bytes, values } = await source();
    const out = fromBytes(await convert(bytes, { type: q4_K }, join(folder, 'out.gguf')));
    const { tensors, metadata: written } = await readGgufHeader(out);
    expect(Object.fromEntries([...tensors.values()].map(({ name, type }) => [name, type.name]))).toEqual({
      'token_embd.weight': 'Q4_K',
      'blk.0.attn_norm.weight': 'F32',
      'blk.0.attn_q.weight': 'Q4_K',
      'blk.0.attn_q.bias': 'F32',
      'blk.0.ffn_up.weight': 'Q4_K',
      // 96 is not a multiple of 256.
      'blk.0.ffn_down.weight': 'Q5_0',
      'blk.0.ffn_gate_inp.weight': 'F32',
      'blk.0.ffn_gate_exps.weight': 'Q4_K',
      'output.weight': 'Q6_K',
    });
    expect(Object.fromEntries(written)).toEqual({
      ...Object.fromEntries(metadata),
      'general.file_type': { type: 'u32', value: 14 },
      'general.quantization_version': { type: 'u32', value: 2 },
    });
    for (const [name, x] of values) {
      const tensor = tensors.get(name) as NonNullable<ReturnType<typeof tensors.get>>;
      const expected = new Float32Array(x.length);
      const blocks = new Uint8Array(tensor.end - tensor.begin);
      expect(tensor.type.format?.encode(x, blocks)).toBe(true);
      tensor.type.format?.decode(blocks, expected);
      const found = await readGgufTensor(out, tensor);
      expect(found.every((value, i) => value === expected[i])).toBe(true);
    }
  });

  it.each([q4_0, q8_0, q4_K, q6_K])(
    'refuses a tensor that is lost in f16 scales, and keeps it where it is told to',
    async (type) => {
      const name = 'blk.0.attn_q.weight';
      for (const [factor, lost] of [
        [1e-9, true],
        [1, false],
      ] as const) {
        const { bytes } = await source(undefined, (each, x) => {
          if (each === 'blk.0.ffn_up.weight') for (let i = 0; i < x.length; i++) x[i] *= factor;
          // Small values beside others are no loss.
          if (each === name) x.fill(1e-8, 0, 512);
        });
        const path = join(folder, 'out.gguf');
        const found = await convert(bytes, { type }, path).catch((error) => error);
        if (!lost) expect(found).toBeInstanceOf(Uint8Array);
        else {
          expect(found).toBeInstanceOf(LostTensorError);
          expect(found.tensor).toBe('blk.0.ffn_up.weight');
          const kept = fromBytes(await convert(bytes, { type, kept: new Set([found.tensor]) }, path));
          expect((await readGgufHeader(kept)).tensors.get(found.tensor)?.type.name).toBe('BF16');
        }
      }
    },
  );

  it('takes a choice for embeddings and output', async () => {
    const { bytes } = await source();
    const types = async (options: RequantizeOptions, from = bytes) => {
      const { tensors } = planRequantize(await readGgufHeader(fromBytes(from)), options, 'in.gguf');
      const of = (name: string) => tensors.find((tensor) => tensor.from.name === name)?.to.name;
      return [of('token_embd.weight'), of('output.weight')];
    };
    expect(await types({ type: q4_0, output: 'keep', embeddings: 'keep' })).toEqual(['F16', 'F16']);
    expect(await types({ type: q4_0, output: q4_0, embeddings: q8_0 })).toEqual(['Q8_0', 'Q4_0']);
    expect(await types({ type: q8_0 })).toEqual(['Q8_0', 'Q8_0']);
    expect(await types({ type: bf16Block })).toEqual(['BF16', 'BF16']);
    const tied = await source((name) => name !== 'output.weight');
    expect(await types({ type: q4_0 }, tied.bytes)).toEqual(['Q6_K', undefined]);
    expect(await types({ type: q4_0, output: 'keep' }, tied.bytes)).toEqual(['F16', undefined]);
  });

  it('of a file of another tool ends in the same bytes from a file, in stretches, and from memory', async () => {
    // More values than one stretch, of which the last one is short.
    const shape = [1031, 1280] as const;
    const tensor = { name: 'blk.0.attn_q.weight', type: f16, shape };
    const plan = planGgufFile(new Map(), [tensor]);
    const values = Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal());
    const writer = await createGgufWriter(join(folder, 'in.gguf'), plan);
    await writer.write(tensor.name, new Uint8Array(encodeF16(values).buffer));
    await writer.finish();
    const whole = new Uint8Array((values.length / 32) * 18);
    const stored = new Float32Array(values.length);
    f16Block.decode(new Uint8Array(encodeF16(values).buffer), stored);
    q4_0.encode(stored, whole);
    const from = await openFile(join(folder, 'in.gguf'));
    const header = await readGgufHeader(from);
    await requantize(from, planRequantize(header, { type: q4_0 }, 'in.gguf'), join(folder, 'out.gguf'));
    await from.close();
    const out = await readFile(join(folder, 'out.gguf'));
    const { tensors } = await readGgufHeader(fromBytes(out));
    const { begin, end } = tensors.get(tensor.name) as { begin: number; end: number };
    expect(Buffer.compare(out.subarray(begin, end), whole)).toBe(0);
    // A source whose bytes begin at an odd place.
    const odd = new Uint8Array(1 + from.byteLength);
    odd.set(await readFile(join(folder, 'in.gguf')), 1);
    expect(Buffer.compare(await convert(odd.subarray(1), { type: q4_0 }, join(folder, 'odd.gguf')), out)).toBe(0);
  });

  it('refuses matrices that are quantized already, and leaves them where they have the type', async () => {
    const { bytes } = await source();
    const once = await convert(bytes, { type: q8_0 }, join(folder, 'once.gguf'));
    await expect(convert(once, { type: q4_0 }, join(folder, 'twice.gguf'))).rejects.toThrow(SchemeError);
    await expect(convert(once, { type: q4_0 }, join(folder, 'twice.gguf'))).rejects.toThrow(
      /in\.gguf: tensor token_embd\.weight is Q8_0 and was to become Q4_0: start from a file in F32, F16 or BF16/,
    );
    expect(Buffer.compare(await convert(once, { type: q8_0 }, join(folder, 'twice.gguf')), once)).toBe(0);
  });

  it.each([
    ['NaN', Number.NaN],
    ['values beyond f16', 1e30],
  ])('stops at %s and leaves nothing', async (_what, bad) => {
    const { bytes } = await source(undefined, (name, x) => {
      if (name === 'blk.0.ffn_down.weight') x[77] = bad;
    });
    const path = join(folder, 'out.gguf');
    await expect(convert(bytes, { type: q6_K }, path)).rejects.toThrow(NumericError);
    await expect(convert(bytes, { type: q6_K }, path)).rejects.toThrow(/in\.gguf: tensor blk\.0\.ffn_down\.weight/);
    expect(await readdir(folder)).toEqual([]);
  });

  it('stops when it is told to, and when the source ends early, and leaves nothing', async () => {
    const { bytes } = await source();
    await writeFile(join(folder, 'in.gguf'), bytes);
    const from = await openFile(join(folder, 'in.gguf'));
    const plan = planRequantize(await readGgufHeader(from), { type: q4_0 }, 'in.gguf');
    const controller = new AbortController();
    const path = join(folder, 'out.gguf');
    const run = { signal: controller.signal, progress: () => controller.abort() };
    await expect(requantize(from, plan, path, run)).rejects.toThrow(/abort/i);
    await writeFile(join(folder, 'in.gguf'), bytes.subarray(0, bytes.length - 50_000));
    await expect(requantize(from, plan, path)).rejects.toThrow(FormatError);
    await from.close();
    expect(await readdir(folder)).toEqual(['in.gguf']);
    await expect(convert(bytes, { type: q4_0 }, join(folder, 'absent', 'out.gguf'))).rejects.toThrow(WriteError);
    // A folder has the name.
    await mkdir(path);
    await expect(convert(bytes, { type: q4_0 }, path)).rejects.toThrow(WriteError);
    expect((await readdir(folder)).sort()).toEqual(['in.gguf', 'out.gguf']);
  });
});

describe('createGgufWriter', () => {
  it('refuses tensors that are unknown, too long or not complete', async () => {
    const path = join(folder, 'out.gguf');
    const writer = await createGgufWriter(path, planGgufFile(new Map(), [{ name: 'a', type: f32, shape: [3] }]));
    await expect(writer.write('b', new Uint8Array(4))).rejects.toThrow(/tensor b is not in the plan/);
    await expect(writer.write('a', new Uint8Array(8), 8)).rejects.toThrow(/has 12 bytes, 16 were to be written/);
    await writer.write('a', new Uint8Array(8));
    await expect(writer.finish()).rejects.toThrow(/tensor a is incomplete: 4 bytes are missing/);
    await writer.write('a', new Uint8Array(4), 8);
    await writer.finish();
    await writer.abort();
    expect(await readdir(folder)).toEqual(['out.gguf']);
  });

  it.each([
    [[{ name: 'n'.repeat(64), type: f32, shape: [1] }], /more than 63 bytes/],
    [[{ name: 'a', type: f32, shape: [1, 1, 1, 1, 1] }], /5 dimensions/],
    [[{ name: 'a', type: ggufTensorTypeFor(q4_0), shape: [32, 16] }], /rows of 16 values/],
    [['a', 'a'].map((name) => ({ name, type: f32, shape: [1] })), /there twice/],
  ])('is not asked for what readers refuse', (tensors, message) => {
    expect(() => planGgufFile(new Map(), tensors)).toThrow(message);
  });
});
