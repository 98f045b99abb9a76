import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom, encodeF16 } from '@q/core';
import {
  createGgufWriter,
  f16Block,
  f32Block,
  type GgufValue,
  ggufTensorTypeFor,
  planGgufFile,
  q4_K,
  readGgufHeader,
} from '@q/gguf';
import { fromBytes } from '@q/safetensors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand } from './testing/run-command.js';

let folder: string;
let input: string;
let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-cli-gguf-'));
  input = join(folder, 'in.gguf');
  out = join(folder, 'out.gguf');
  await writeModel();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const random = createRandom('cli gguf');
const [f16, f32] = [ggufTensorTypeFor(f16Block), ggufTensorTypeFor(f32Block)];
let matrix: Uint16Array;

async function writeModel(entries: readonly (readonly [string, GgufValue])[] = []): Promise<void> {
  const tensors = [
    { name: 'token_embd.weight', type: f16, shape: [16, 256] },
    { name: 'blk.0.attn_norm.weight', type: f32, shape: [256] },
    { name: 'blk.0.attn_q.weight', type: f16, shape: [8, 256] },
    { name: 'output.weight', type: f16, shape: [16, 256] },
  ];
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ...entries,
  ]);
  const writer = await createGgufWriter(input, planGgufFile(metadata, tensors));
  for (const { name, type, shape } of tensors) {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal());
    const data = type === f16 ? encodeF16(values) : values;
    if (name === 'blk.0.attn_q.weight') matrix = data as Uint16Array;
    await writer.write(name, new Uint8Array(data.buffer));
  }
  await writer.finish();
}

describe('q gguf', () => {
  it('writes a smaller file, and says what became of every tensor', async () => {
    const { code, out: printed, err } = await runCommand(['gguf', input, out, '--type', 'Q4_K', '--threads', '1']);
    expect(err).not.toContain('error');
    expect(code).toBe(0);
    expect(printed).toMatch(/blk\.0\.attn_q\.weight +\[8, 256\] +F16 +Q4_K +4\.10 kB +1\.15 kB +a matrix/);
    expect(printed).toMatch(/blk\.0\.attn_norm\.weight +\[256\] +F32 +as it is/);
    expect(printed).toMatch(/output\.weight +\[16, 256\] +F16 +Q6_K/);
    expect(printed).toMatch(/21\.5 kB -> 7\.84 kB \(36\.5 %\) in 4 tensors/);
    const file = await readFile(out);
    const { tensors } = await readGgufHeader(fromBytes(file));
    const values = new Float32Array(matrix.length);
    f16Block.decode(new Uint8Array(matrix.buffer), values);
    const wanted = new Uint8Array(8 * 144);
    q4_K.encode(values, wanted);
    const { begin, end } = tensors.get('blk.0.attn_q.weight') as { begin: number; end: number };
    expect(Buffer.compare(file.subarray(begin, end), wanted)).toBe(0);
    const listed = await runCommand(['inspect', out]);
    expect(listed.out).toMatch(/blk\.0\.attn_q\.weight +\[8, 256\] +Q4_K +1\.15 kB/);
  });

  it('prints one JSON object, and a plan alone writes nothing', async () => {
    const choice = ['--type', 'q8_0', '--output', 'q4_0', '--embeddings', 'keep', '--json'];
    const planned = await runCommand(['gguf', input, '--plan', ...choice]);
    expect(await readdir(folder)).toEqual(['in.gguf']);
    const { code, out: printed } = await runCommand(['gguf', input, out, ...choice]);
    expect(code).toBe(0);
    const report = JSON.parse(printed);
    expect(report).toMatchObject(JSON.parse(planned.out));
    expect(report.tensors.map(({ to }: { to: string }) => to)).toEqual(['F16', 'F32', 'Q8_0', 'Q4_0']);
    expect(report).toMatchObject({ input, output: out, notes: [] });
    expect((await readdir(folder)).sort()).toEqual(['in.gguf', 'out.gguf']);
  });

  it.each<[string, () => Promise<unknown>, readonly string[], RegExp]>([
    ['no type', async () => {}, ['IN', 'OUT'], /--type is missing: one of q4_0, /],
    ['a type that is unknown', async () => {}, ['IN', 'OUT', '--type', 'q4_m'], /--type q4_m: .* did you mean q4_/],
    [
      'a mix without a count of blocks',
      async () => {},
      ['IN', 'OUT', '--type', 'q4_k_m'],
      /metadata lack llama\.block_count/,
    ],
    ['no file to write', async () => {}, ['IN', '--type', 'q4_0'], /the file to write is missing/],
    ['a file that is absent', () => rm(input), ['IN', 'OUT', '--type', 'q4_0'], /in\.gguf: is not a file/],
    ['a folder', () => rm(input).then(() => mkdir(input)), ['IN', 'OUT', '--type', 'q4_0'], /in\.gguf: is not a file/],
    ['the same file', async () => {}, ['IN', 'IN', '--type', 'q4_0'], /in\.gguf: is the file that is read/],
    [
      'a file that is there',
      () => writeFile(join(folder, 'x'), ''),
      ['IN', 'X', '--type', 'q4_0'],
      /x: is there already/,
    ],
    [
      'another kind of file',
      () => writeFile(input, 'x'.repeat(99)),
      ['IN', 'OUT', '--type', 'q4_0'],
      /does not begin with GGUF/,
    ],
    ['a file cut short', () => truncate(input, 9000), ['IN', 'OUT', '--type', 'q4_0'], /in\.gguf: tensor .* truncated/],
    [
      'a part of a model',
      () => writeModel([['split.count', { type: 'u16', value: 2 }]]),
      ['IN', 'OUT', '--type', 'q4_0'],
      /one of 2 parts of a model: merge them/,
    ],
    [
      'an absent folder',
      async () => {},
      ['IN', 'ABSENT', '--type', 'q4_0'],
      /out\.gguf\.partial: could not be written/,
    ],
    ['threads below one', async () => {}, ['IN', 'OUT', '--type', 'q4_0', '--threads', '0'], /--threads 0/],
  ])('refuses %s, and leaves nothing', async (_what, prepare, argv, message) => {
    await prepare();
    const places: Record<string, string> = {
      IN: input,
      OUT: out,
      X: join(folder, 'x'),
      ABSENT: join(folder, 'no', 'out.gguf'),
    };
    const before = await readdir(folder);
    const { code, err } = await runCommand(['gguf', ...argv.map((word) => places[word] ?? word)]);
    expect(err).toMatch(message);
    expect(err).not.toMatch(/\n\s+at .*\(/);
    expect(code).toBe(1);
    expect(await readdir(folder)).toEqual(before);
  });

  it('interrupted, leaves nothing and says so', async () => {
    const controller = new AbortController();
    controller.abort();
    const { code, err } = await runCommand(['gguf', input, out, '--type', 'q4_0'], controller.signal);
    expect(code).toBe(130);
    expect(err).toContain('Interrupted. Nothing was left behind.');
    expect(await readdir(folder)).toEqual(['in.gguf']);
  });
});
