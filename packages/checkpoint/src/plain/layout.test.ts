import {
  builtinFormats,
  createRandom,
  type Granularity,
  type NumberFormat,
  perBlock,
  perChannel,
  perFlat,
  perGroup,
  perTensor,
  type QuantizedTensor,
  quantize,
  type ScaleStorage,
  scheme,
  schemes,
  type Tensor,
  tensor,
  uint3,
} from '@q/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { QuantizedModule, TensorLookup } from '../layout.js';
import { plainLayout } from './layout.js';

const layout = plainLayout();
const linear = (outFeatures: number, inFeatures: number) => ({
  module: 'm',
  inFeatures,
  outFeatures,
  transposed: false,
  bias: false,
});

async function throughFile(module: QuantizedModule, quantized: QuantizedTensor): Promise<QuantizedTensor> {
  expect(layout.refuse(module)).toBeUndefined();
  const tensors: ReadonlyMap<string, Tensor> = layout.encode(module, quantized);
  const planned = layout.plan(module);
  expect([...tensors.keys()].sort()).toEqual(planned.map(({ name }) => name).sort());
  for (const { name, dtype, shape } of planned)
    expect(tensors.get(name)).toMatchObject({ dtype: dtype.toLowerCase(), shape });
  const lookup: TensorLookup = {
    has: (name) => tensors.has(name),
    shape: (name) => tensors.get(name)?.shape ?? [],
    read: async (name) => tensors.get(name) as Tensor,
  };
  const { config } = layout.config([module], [], { method: 'x', options: {} });
  const reader = layout.reader(JSON.parse(JSON.stringify(config)))!;
  expect(reader.has('m', lookup)).toBe(true);
  return reader.read('m', lookup);
}

const weight = (rows: number, columns: number, seed: number) => {
  const random = createRandom(seed);
  return tensor(
    'f32',
    [rows, columns],
    Float32Array.from({ length: rows * columns }, () => random.normal() * 0.1),
  );
};

function expectSame(back: QuantizedTensor, quantized: QuantizedTensor): void {
  expect(JSON.stringify(back.scheme)).toBe(JSON.stringify(quantized.scheme));
  for (const part of ['codes', 'scales', 'groupIndex', 'codebook'] as const)
    expect(back[part], part).toEqual(quantized[part]);
  // A whole zero point of -0 comes back as 0.
  expect(back.zeroPoints).toEqual(quantized.zeroPoints?.map((zero) => zero + 0));
  expect(back.storedScales?.parts ?? {}).toEqual(quantized.storedScales?.parts ?? {});
}

describe('the plain layout', () => {
  it('gives back every built-in format under every granularity, bit for bit', () => {
    const granularities: readonly Granularity[] = [perTensor, perChannel, perGroup(5), perBlock(2, 3), perFlat(7)];
    return fc.assert(
      fc.asyncProperty(
        fc.constantFrom<NumberFormat>(...builtinFormats),
        fc.constantFrom(...granularities),
        fc.constantFrom('none', 'integer', 'float') as fc.Arbitrary<'none' | 'integer' | 'float'>,
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 17 }),
        fc.integer(),
        async (format, granularity, zeroPoint, rows, columns, seed) => {
          if (zeroPoint !== 'none' && format.family !== 'linear') return;
          const of = scheme({ format, granularity, zeroPoint });
          const quantized = quantize(weight(rows, columns, seed), of);
          expectSame(await throughFile({ linear: linear(rows, columns), scheme: of }, quantized), quantized);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('gives back two-level scales with their parts', async () => {
    for (const of of [schemes.nvfp4, schemes.nf4DoubleQuantized, schemes.mxfp4] as readonly any[]) {
      const own = typeof of === 'function' ? of() : of;
      const quantized = quantize(weight(8, 64, 1), own);
      expectSame(await throughFile({ linear: linear(8, 64), scheme: own }, quantized), quantized);
    }
  });

  it('gives back reordered groups, a table of levels, and scales made by others', async () => {
    const of = scheme({ format: uint3, granularity: perGroup(4), zeroPoint: 'float' });
    const quantized = { ...quantize(weight(3, 8, 2), of), groupIndex: Int32Array.of(1, 0, 1, 0, 1, 0, 1, 0) };
    expectSame(await throughFile({ linear: linear(3, 8), scheme: of }, quantized), quantized);
    const plain = quantize(weight(3, 8, 2), scheme({ format: uint3 }));
    const levels = { ...plain, codebook: Float32Array.from({ length: 24 }, (_, i) => i / 7) };
    const module = { linear: linear(3, 8), scheme: plain.scheme, codebook: 'row' as const };
    expectSame(await throughFile(module, levels), levels);
    expect(() => layout.encode({ ...module, codebook: undefined }, levels)).toThrow('a codebook came');
    expect(() => layout.encode(module, { ...levels, scales: levels.scales.map((s) => s * 1.0001) })).toThrow(
      'f16 cannot hold exactly',
    );
  });

  it('packs codes of 3 bits into 3 bits, and keeps no more than the scheme needs', () => {
    const bytes = layout.plan({ linear: linear(16, 64), scheme: scheme({ format: uint3, zeroPoint: 'integer' }) });
    expect(bytes.map(({ name, dtype, shape }) => `${name} ${dtype} ${shape}`)).toEqual([
      `m.codes U8 ${(16 * 64 * 3) / 8}`,
      'm.scales F16 16,1',
      'm.zero_points U8 16,1',
    ]);
  });

  it('refuses what JSON cannot name, and names what is wrong with a folder', async () => {
    const storage: ScaleStorage = { ...scheme({ format: uint3 }).scaleStorage, toJSON: () => 'mine' };
    expect(layout.refuse({ linear: linear(4, 4), scheme: scheme({ format: uint3, scaleStorage: storage }) })).toContain(
      'mine',
    );
    expect(layout.reader({ quant_method: 'gptq' })).toBeUndefined();
    expect(() => layout.reader({ quant_method: 'q-plain', version: 9 })).toThrow('version 9');
    const of = scheme({ format: uint3 });
    const { config } = layout.config([{ linear: linear(4, 4), scheme: of }], [], { method: 'x', options: {} });
    const reader = layout.reader(config)!;
    const empty: TensorLookup = { has: () => false, shape: () => [], read: async () => tensor('u8', [0]) };
    await expect(reader.read('m', empty)).rejects.toThrow('m.codes: is absent');
    const wrong: TensorLookup = { has: () => true, shape: () => [], read: async () => tensor('u8', [5]) };
    await expect(reader.read('m', wrong)).rejects.toThrow('u8 [5]; u8 [6] was expected');
    await expect(async () => reader.read('n', wrong)).rejects.toThrow('no scheme for n');
  });
});
