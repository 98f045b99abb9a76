import { f16ToF32, tensor } from '@q/core';
import { describe, expect, it } from 'vitest';
import type { Checkpoint } from './checkpoint.js';
import { keptAsHalves } from './kept-as-halves.js';

/** A checkpoint with a table, a matrix and a norm, of which the first two come from 4-bit values. */
function checkpointOf(table: Float32Array): Checkpoint {
  const tensors = new Map<string, Float32Array>([
    ['table.weight', table],
    ['linear.weight', Float32Array.of(0.1, -0.2, 0.3, 0.4)],
    ['norm.weight', Float32Array.of(1, 2)],
  ]);
  const shapeOf = (name: string) => (name === 'norm.weight' ? [2] : [2, 2]);
  const read = async (name: string) => tensor('f32', shapeOf(name), tensors.get(name) as Float32Array);
  return {
    path: 'model.gguf',
    storedBytes: new Map([
      ['table.weight', 3],
      ['linear.weight', 3],
      ['norm.weight', 8],
    ]),
    tensors: new Map(
      [...tensors].map(([name, { byteLength }]) => [
        name,
        { name, dtype: 'F32', shape: shapeOf(name), begin: 0, end: byteLength, file: 'model.gguf' },
      ]),
    ),
    model: { ties: new Map([['head.weight', 'table.weight']]) },
    read,
    weight: (name: string) => read(name === 'head.weight' ? 'table.weight' : name),
    rows: async () => tensor('f32', [1, 2], table.subarray(2)),
    halves: () => undefined,
    readBytes: async (name: string, start?: number, end?: number) =>
      new Uint8Array((tensors.get(name) as Float32Array).buffer).subarray(start, end),
  } as unknown as Checkpoint;
}

describe('values of a rounded source that are kept', () => {
  const table = Float32Array.of(0.1, -3, 1 / 3, 1e-9);
  const kept = keptAsHalves(checkpointOf(table), (name) => name !== 'linear.weight');
  // 0.1 and 1/3 in f16, as IEEE 754 rounds them: 0x2e66 and 0x3555.
  const halves = [0x2e66, 0xc200, 0x3555, 0];
  const values = halves.map(f16ToF32);

  it('are f16 if they are matrices, and f32 if they are vectors or are quantized', () => {
    expect([...kept.tensors.values()].map(({ dtype, begin, end }) => [dtype, end - begin])).toEqual([
      ['F16', 8],
      ['F32', 16],
      ['F32', 8],
    ]);
  });

  it('are the same as bytes, as a tensor, as rows, and under the name of a tied head', async () => {
    expect([...((await kept.read('table.weight')).data as Uint16Array)]).toEqual(halves);
    const bytes = await kept.readBytes('table.weight', 2, 6);
    expect([...new Uint16Array(bytes.slice().buffer)]).toEqual(halves.slice(1, 3));
    expect([...(await kept.weight('table.weight')).data]).toEqual(values);
    expect([...(await kept.weight('head.weight')).data]).toEqual(values);
    expect([...(await kept.rows('table.weight', Int32Array.of(1))).data]).toEqual(values.slice(2));
    expect([...(await kept.weight('linear.weight')).data]).toEqual([...Float32Array.of(0.1, -0.2, 0.3, 0.4)]);
  });

  it('are refused by name if f16 does not hold one', async () => {
    const large = keptAsHalves(checkpointOf(Float32Array.of(1, 2, 3, 70000)), () => true);
    await expect(large.readBytes('table.weight', 4, 8)).rejects.toThrow(
      'model.gguf: tensor table.weight has 70000 at element 3, more than the 65504 of f16',
    );
  });

  it('leaves a source without rounded matrices as it is', () => {
    const { storedBytes: _, ...plain } = checkpointOf(table);
    expect(keptAsHalves(plain, () => true)).toBe(plain);
  });
});
