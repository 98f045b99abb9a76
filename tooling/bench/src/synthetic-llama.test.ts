import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openShards } from '@q/safetensors';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { writeSyntheticLlama } from './synthetic-llama.js';

const shape = { hidden: 16, intermediate: 24, layers: 2, heads: 4, keyValueHeads: 2, vocabulary: 40 };
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-bench-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('writes the same bytes for a seed, norms of one and tokens of the vocabulary', async () => {
  const [a, b, c] = ['a', 'b', 'c'].map((name) => join(folder, name));
  await writeSyntheticLlama(a, 1, shape);
  await writeSyntheticLlama(b, 1, shape);
  await writeSyntheticLlama(c, 2, shape);
  const weights = await Promise.all([a, b, c].map((path) => readFile(join(path, 'model.safetensors'))));
  expect(weights[0].equals(weights[1])).toBe(true);
  expect(weights[0].equals(weights[2])).toBe(false);
  const reader = await openShards(a);
  // 1 in bf16.
  expect([...((await reader.read('model.norm.weight')).data as Uint16Array)]).toEqual(Array(16).fill(0x3f80));
  expect((await reader.read('model.layers.1.self_attn.k_proj.weight')).shape).toEqual([8, 16]);
  await reader.close();
  const ids = await readFile(join(a, 'calib-128x256.u16'));
  expect(ids.length).toBe(2 * 128 * 256);
  const largest = new Uint16Array(ids.buffer, ids.byteOffset, ids.length / 2).reduce((m, id) => Math.max(m, id));
  expect(largest).toBe(39);
});
