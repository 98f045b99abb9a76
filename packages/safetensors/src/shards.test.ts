import { copyFile, mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor } from '@q/core';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fromUrl } from './byte-source.js';
import { openFile } from './file-source.js';
import { readHeader } from './header.js';
import { readTensor } from './read-tensor.js';
import { type PlannedTensor, planShards } from './shard-plan.js';
import { openShards } from './shard-reader.js';
import { createShardWriter } from './shard-writer.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-safetensors-'));
});
afterEach(() => rm(folder, { recursive: true }));

const planned: PlannedTensor[] = [
  { name: 'b', dtype: 'F16', shape: [3] },
  { name: 'a', dtype: 'F32', shape: [2, 2] },
  { name: 'c', dtype: 'F32', shape: [1] },
];
const values = {
  a: tensor('f32', [2, 2], Float32Array.of(1, 2, 3, 4)),
  b: tensor('f16', [3], Uint16Array.of(0x3c00, 0, 0xbc00)),
  c: tensor('f32', [1], Float32Array.of(5)),
};

async function write(options: { maxShardBytes?: number } = {}): Promise<readonly string[]> {
  const writer = await createShardWriter(folder, planShards(planned, options));
  for (const [name, value] of Object.entries(values).reverse()) await writer.write(name, value);
  return (await writer.finish()).map(({ file }) => file);
}

describe('writing', () => {
  it('gives the bytes of the reference layout: dtypes widest first, then names, header padded to 8', async () => {
    expect(await write()).toEqual(['model.safetensors']);
    const bytes = await readFile(join(folder, 'model.safetensors'));
    const header =
      '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"c":{"dtype":"F32","shape":[1],"data_offsets":[16,20]},"b":{"dtype":"F16","shape":[3],"data_offsets":[20,26]}}';
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    expect(bytes.subarray(8, 8 + length).toString()).toBe(header.padEnd(length));
    expect([
      ...new Float32Array(bytes.buffer.slice(bytes.byteOffset + 8 + length, bytes.byteOffset + 8 + length + 20)),
    ]).toEqual([1, 2, 3, 4, 5]);
  });

  it('fills shards greedily, gives a too large tensor its own, and writes the index', async () => {
    expect(await write({ maxShardBytes: 10 })).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      'model.safetensors.index.json',
    ]);
    const index = JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'));
    expect(index.metadata.total_size).toBe(26);
    expect(index.weight_map).toEqual({
      b: 'model-00001-of-00003.safetensors',
      a: 'model-00002-of-00003.safetensors',
      c: 'model-00003-of-00003.safetensors',
    });
    const reader = await openShards(folder);
    for (const [name, value] of Object.entries(values)) expect(await reader.read(name)).toEqual(value);
    await reader.close();
  });

  it('round trips any plan in any order of writing, in pieces', () =>
    fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(
          fc.tuple(
            fc.string({ minLength: 1, maxLength: 8 }),
            fc.constantFrom('F32', 'I32', 'U8', 'BF16', 'I64'),
            fc.array(fc.nat(3), { maxLength: 3 }),
          ),
          {
            selector: ([name]) => name,
            maxLength: 6,
          },
        ),
        fc.integer({ min: 1, max: 100 }),
        async (entries, maxShardBytes) => {
          const tensors = entries
            .filter(([name]) => name !== '__metadata__')
            .map(([name, dtype, shape]) => ({ name, dtype: dtype as PlannedTensor['dtype'], shape }));
          const plan = planShards(tensors, { maxShardBytes });
          const own = await mkdtemp(join(folder, 'p'));
          const writer = await createShardWriter(own, plan);
          const content = new Map<string, Uint8Array>();
          for (const { name } of [...tensors].reverse()) {
            const { begin, end } = plan.places.get(name)!;
            const bytes = Uint8Array.from({ length: end - begin }, (_, i) => (i * 7 + name.length) % 256);
            content.set(name, bytes);
            for (let at = 0; at < bytes.length; at += 3) await writer.writeBytes(name, bytes.subarray(at, at + 3), at);
          }
          await writer.finish();
          const reader = await openShards(own);
          for (const [name, bytes] of content) expect(new Uint8Array(await reader.readBytes(name))).toEqual(bytes);
          expect(reader.entries.size).toBe(tensors.length);
          await reader.close();
        },
      ),
      { numRuns: 40 },
    ));

  it('continues in the partial files of the same plan, to the same bytes', async () => {
    await write();
    const whole = await readFile(join(folder, 'model.safetensors'));
    const other = await mkdtemp(join(folder, 'r'));
    const first = await createShardWriter(other, planShards(planned));
    await first.write('a', values.a);
    await first.close();
    expect(await readdir(other)).toEqual(['model.safetensors.partial']);
    const second = await createShardWriter(other, planShards(planned), { resume: true });
    expect(new Float32Array((await second.readBytes('a')).buffer)).toEqual(values.a.data);
    await second.write('b', values.b);
    await second.write('c', values.c);
    await second.finish();
    expect(await readFile(join(other, 'model.safetensors'))).toEqual(whole);
  });

  it('refuses to continue in files of another plan, and removes everything on abort', async () => {
    const writer = await createShardWriter(folder, planShards(planned));
    await writer.close();
    await expect(createShardWriter(folder, planShards(planned.slice(1)), { resume: true })).rejects.toThrow(
      /another plan/,
    );
    const again = await createShardWriter(folder, planShards(planned), { resume: true });
    await again.abort();
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses what was not planned', async () => {
    const writer = await createShardWriter(folder, planShards(planned));
    await expect(writer.write('x', values.a)).rejects.toThrow(/tensor x is not in the plan/);
    await expect(writer.write('a', tensor('f32', [4], new Float32Array(4)))).rejects.toThrow(
      /planned as F32 \[2,2\] and came as F32 \[4\]/,
    );
    await expect(writer.writeBytes('c', new Uint8Array(8))).rejects.toThrow(/has 4 bytes, 8/);
    await writer.abort();
    expect(() => planShards([...planned, planned[0]])).toThrow(/planned twice/);
  });

  it('names the file when it cannot be written', async () => {
    await expect(createShardWriter(join(folder, 'absent'), planShards(planned))).rejects.toThrow(
      /absent.*could not be written/,
    );
  });
});

describe('opening shards', () => {
  const index = (map: unknown) =>
    writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));

  it('says what is missing', async () => {
    await expect(openShards(folder)).rejects.toThrow(/model\.safetensors does not exist/);
    await index({ a: 'model-00001-of-00002.safetensors' });
    await expect(openShards(folder)).rejects.toThrow(/names shard model-00001-of-00002/);
  });

  it.each(['../x.safetensors', '/etc/passwd', 'a\\b.safetensors', '.hidden'])('refuses shard %j', async (name) => {
    await index({ a: name });
    await expect(openShards(folder)).rejects.toThrow(/outside of the folder/);
  });

  const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];

  /** Writes the tensors `a`, `b` and `c` into one file, and gives it the name. */
  async function shard(name: string): Promise<void> {
    await write();
    await rename(join(folder, 'model.safetensors'), join(folder, name));
  }

  it('reads model.safetensors first, as transformers does, and says what lies beside it', async () => {
    await write();
    await index({ a: 'model-00001-of-00003.safetensors' });
    const reader = await openShards(folder);
    expect(reader.files).toEqual(['model.safetensors']);
    expect(reader.notes).toEqual([expect.stringMatching(/^model\.safetensors is read.*index\.json and the shards/)]);
    await reader.close();
    await index({ a: 'model.safetensors', b: 'model.safetensors', c: 'model.safetensors' });
    const agreeing = await openShards(folder);
    expect(agreeing.notes).toEqual([]);
    await agreeing.close();
  });

  it('lets the index choose between two shards, and reads what it does not name', async () => {
    await shard(one);
    await copyFile(join(folder, one), join(folder, two));
    await index({ a: one, b: two });
    await expect(openShards(folder)).rejects.toThrow(/tensor c is also in model-00001.*names neither/);
    await index({ a: one, b: two, c: two });
    const reader = await openShards(folder);
    expect([...reader.entries].map(([name, { file }]) => [name, file])).toEqual(
      expect.arrayContaining([
        ['a', one],
        ['b', two],
        ['c', two],
      ]),
    );
    expect(reader.notes).toEqual([expect.stringMatching(/and 2 more: is in two shards/)]);
    await reader.close();
    await index({ a: one, b: one });
    const lacking = await openShards(folder);
    expect((await lacking.read('c')).data).toEqual(Float32Array.of(5));
    expect(lacking.notes).toEqual([expect.stringMatching(/^c: .*does not name it/)]);
    await lacking.close();
  });

  it.each([
    [['model.Q4_K_M.gguf'], /but model\.Q4_K_M\.gguf: give the path of that file instead of its folder/],
    [['adapter_model.safetensors'], /but adapter_model\.safetensors: it is an adapter: .* --adapter$/],
    [['pytorch_model.bin'], /but pytorch_model\.bin, which is not read: convert it/],
    [[one], /but model-00001-of-00002\.safetensors: rename it to model\.safetensors/],
    [[one, two], /: get model\.safetensors\.index\.json/],
  ])('says what is there in place of weights: %j', async (names, message) => {
    for (const name of names) await writeFile(join(folder, name), 'x');
    await expect(openShards(folder)).rejects.toThrow(message);
  });

  it('refuses an index that names what no shard has', async () => {
    await shard(one);
    const rest = { a: one, b: one, c: one };
    await index({ ...rest, d: one });
    await expect(openShards(folder)).rejects.toThrow(/lacks tensor d/);
    await writeFile(join(folder, 'model.safetensors.index.json'), '{');
    await expect(openShards(folder)).rejects.toThrow(/not valid JSON/);
    await index(['a']);
    await expect(openShards(folder)).rejects.toThrow(/weight_map must be an object/);
  });

  it('notices a file that shrinks while it is read', async () => {
    await write();
    const reader = await openShards(folder);
    await truncate(join(folder, 'model.safetensors'), 20);
    await expect(reader.read('c')).rejects.toThrow(/truncated or replaced while being read/);
    await reader.close();
  });
});

describe('a URL', () => {
  it('is read by range, and a server without ranges is refused', async () => {
    await write();
    const bytes = await readFile(join(folder, 'model.safetensors'));
    const asked: string[] = [];
    const serve =
      (ranges: boolean): typeof fetch =>
      async (_url, init) => {
        if (init?.method === 'HEAD') return new Response(null, { headers: { 'content-length': `${bytes.length}` } });
        const { range } = (init as { headers: { range: string } }).headers;
        asked.push(range);
        const [start, end] = range.slice('bytes='.length).split('-');
        return ranges ? new Response(bytes.subarray(+start, +end + 1), { status: 206 }) : new Response(bytes);
      };
    const source = await fromUrl('https://example.test/m', { fetch: serve(true) });
    const { tensors } = await readHeader(source);
    expect(await readTensor(source, tensors.get('a')!)).toEqual(values.a);
    expect(asked.length).toBe(3);
    await expect(readHeader(await fromUrl('https://example.test/m', { fetch: serve(false) }))).rejects.toThrow(
      /answered 200 to a range request, 206/,
    );
  });
});

describe.skipIf(!process.env.QUANT_SHARED)('the shared models', () => {
  it.each(['llama-5m', 'gpt2-3m', 'opt-3m'])('%s opens', async (name) => {
    const source = await openFile(join(process.env.QUANT_SHARED as string, 'models', name, 'model.safetensors'));
    const { tensors, metadata } = await readHeader(source);
    expect(metadata.get('format')).toBe('pt');
    expect(tensors.size).toBeGreaterThan(30);
    await source.close();
  });
});
