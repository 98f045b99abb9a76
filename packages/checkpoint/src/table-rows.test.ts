import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom, fromF32, type Tensor, tensor } from '@q/core';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openCheckpoint } from './checkpoint.js';
import { tinyConfig, tinyTensors, writeModelFolder } from './testing/tiny-llama.js';

const table = 'model.embed_tokens.weight';
/** More bytes than are in memory at a time, also in 16 bits. */
const count = 150_000;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-rows-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** A folder whose table is `values`, and whose head is tied to it if `tied`. */
async function opened(values: Tensor, tied = false) {
  const tensors = tinyTensors().set(table, values);
  if (tied) tensors.delete('lm_head.weight');
  else tensors.set('lm_head.weight', values);
  const [vocabulary] = values.shape;
  await writeModelFolder(folder, { ...tinyConfig, vocab_size: vocabulary, tie_word_embeddings: tied }, tensors);
  return openCheckpoint(folder, []);
}

function valuesOf(rows: number): Float32Array {
  const random = createRandom(rows);
  return Float32Array.from({ length: rows * 16 }, () => random.uniform() - 0.5);
}

it.each(['f32', 'f16', 'bf16'] as const)(
  'gives the same values as the whole table in %s, for a tied head too',
  async (dtype) => {
    const checkpoint = await opened(fromF32(dtype, [count, 16], valuesOf(count)), true);
    const rows = Int32Array.of(0, 1, 77, 65_535, 65_536, 131_071, 131_072, 149_999);
    try {
      const { data } = await checkpoint.weight(table);
      const expected = [...rows].flatMap((row) => [...data.subarray(row * 16, row * 16 + 16)]);
      for (const name of [table, 'lm_head.weight']) {
        const some = await checkpoint.rows(name, rows);
        expect(some.shape).toEqual([8, 16]);
        expect([...some.data]).toEqual(expected);
      }
      expect((await checkpoint.rows(table, new Int32Array(0))).shape).toEqual([0, 16]);
    } finally {
      await checkpoint.close();
    }
  },
);

it('refuses a table with a value that is not finite in any row, as the whole table is refused', async () => {
  const values = valuesOf(count);
  values[140_000 * 16 + 3] = Number.NaN;
  const checkpoint = await opened(tensor('f32', [count, 16], values));
  try {
    const whole = await checkpoint.weight(table).catch((error) => error);
    const some = await checkpoint.rows(table, Int32Array.of(5)).catch((error) => error);
    expect(some.message).toContain(`${table} holds NaN at element ${140_000 * 16 + 3}: repair`);
    expect([some.name, some.message]).toEqual([whole.name, whole.message]);
  } finally {
    await checkpoint.close();
  }
});

it('refuses rows that the table does not have', async () => {
  const checkpoint = await opened(fromF32('f16', [24, 16], valuesOf(24)));
  try {
    for (const row of [-1, 24])
      await expect(checkpoint.rows(table, Int32Array.of(row))).rejects.toThrow(
        `tensor ${table} has 24 rows, and row ${row} was requested`,
      );
  } finally {
    await checkpoint.close();
  }
});
