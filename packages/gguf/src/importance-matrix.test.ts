import { fromBytes } from '@q/safetensors';
import { describe, expect, it } from 'vitest';
import { type ImportanceData, importanceMatrix, readImportance, writeImportance } from './importance-matrix.js';

const data: ImportanceData = {
  sums: new Map([
    ['blk.0.attn_q.weight', { squares: Float32Array.of(2, 4, 6), counts: Float32Array.of(2) }],
    // Two experts, one of which has seen nothing.
    ['blk.0.ffn_up_exps.weight', { squares: Float32Array.of(9, 3, 0, 0), counts: Float32Array.of(3, 0) }],
  ]),
  datasets: ['text.txt'],
  chunks: 4,
  chunkSize: 512,
};

describe('importance matrices', () => {
  it('are means for each matrix of a tensor, and 1 where nothing was seen', () => {
    const means = importanceMatrix(data);
    expect([...(means.get('blk.0.attn_q.weight') ?? [])]).toEqual([1, 2, 3]);
    expect([...(means.get('blk.0.ffn_up_exps.weight') ?? [])]).toEqual([3, 1, 1, 1]);
  });

  it('come back from a GGUF file as they were', async () => {
    expect(await readImportance(fromBytes(writeImportance(data)))).toEqual(data);
  });

  it('come back from the older file with the same means', async () => {
    const old = await readImportance(fromBytes(writeImportance(data, true)));
    expect(importanceMatrix(old)).toEqual(importanceMatrix(data));
    expect(old.datasets).toEqual(['text.txt']);
  });

  it('read the layout of llama-imatrix: count, name, calls, values, last chunk, text', async () => {
    const integer = (value: number) => [...new Uint8Array(Int32Array.of(value).buffer)];
    const name = [...new TextEncoder().encode('a.weight')];
    const values = [...new Uint8Array(Float32Array.of(10, 5).buffer)];
    const bytes = Uint8Array.from([
      ...[...integer(1), ...integer(8), ...name, ...integer(5), ...integer(2), ...values, ...integer(5)],
      ...[...integer(1), 116],
    ]);
    const read = await readImportance(fromBytes(bytes));
    expect([...(importanceMatrix(read).get('a.weight') ?? [])]).toEqual([2, 1]);
    expect(read.chunks).toBe(5);
  });

  it.each([
    ['another kind of file', new TextEncoder().encode('not an importance matrix'), /neither a GGUF file nor/],
    ['a file cut short', writeImportance(data, true).subarray(0, 30), /cut short/],
    [
      'a weight below zero',
      writeImportance({
        ...data,
        sums: new Map([['a', { squares: Float32Array.of(-1), counts: Float32Array.of(1) }]]),
      }),
      /the weights of a are not all finite/,
    ],
  ])('refuse %s', async (_, bytes, message) => {
    await expect(readImportance(fromBytes(bytes))).rejects.toThrow(message);
  });
});
