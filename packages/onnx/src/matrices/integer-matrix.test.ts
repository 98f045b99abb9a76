import {
  type ActivationScheme,
  perChannel,
  quantize,
  type Scheme,
  scheme,
  schemes,
  signedIntegers,
  tensor,
  unsignedIntegers,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { Graph } from '../graph/graph.js';
import { integerMatrix } from './integer-matrix.js';
import type { PackedSource } from './matrix.js';

const weight = tensor('f32', [3, 4], Float32Array.of(1, -2, 0.5, 0, 4, 8, -8, 1, 0, 0, 0, 0));
const sevenBits = scheme({ format: signedIntegers[5]!, granularity: perChannel });
const unsigned = scheme({ format: unsignedIntegers[6]!, granularity: perChannel, zeroPoint: 'integer' });

/** A product of 3 outputs, and the bytes of its tensors. */
async function product(own: Scheme, stored: 'u8' | 'i8', packed?: PackedSource) {
  const graph = new Graph('product');
  const matrix = integerMatrix({ scheme: own, quantizer: async (values, of) => quantize(values, of), stored }).add(
    { graph, type: 'f32', portable: true, tensorBytes: 2 ** 27 },
    { name: 'w', rows: 3, columns: 4, floats: async () => weight, ...(packed ? { packed } : {}) },
    { product: true, rows: false },
  );
  const x = graph.input('x', 'f32', ['batch_size', 4]);
  matrix.product(x);
  const [codes, scales, zeros] = await graph.payloads[0]!.make();
  return {
    operators: graph.nodes.map(({ opType }) => opType),
    types: graph.payloads[0]!.tensors.map(({ type, dims }) => `${type} ${dims}`),
    codes: codes as Uint8Array,
    scales: new Float32Array((scales as Uint8Array).slice().buffer),
    zeros: zeros as Uint8Array,
  };
}

/** `w[out, in]` of what is stored `[in, out]`. */
const values = ({ codes, scales, zeros }: Awaited<ReturnType<typeof product>>, signed: boolean) =>
  Float32Array.from({ length: 12 }, (_, i) => {
    const [row, column] = [Math.floor(i / 4), i % 4];
    const read = (byte: number) => (signed ? (byte << 24) >> 24 : byte);
    return Math.fround((read(codes[column * 3 + row]!) - read(zeros[row]!)) * scales[row]!);
  });

const packedAs = (own: Scheme, activation: ActivationScheme): PackedSource => {
  const { codes, scales, zeroPoints, ...described } = quantize(weight, own);
  return { described, activation, read: async () => ({ ...described, codes, scales, zeroPoints }) };
};

describe('a matrix of whole numbers', () => {
  it.each([
    ['u8', unsigned, 1 / 60],
    ['i8', sevenBits, 1 / 14],
  ] as const)('as %s holds its values turned, a scale and a zero point a row', async (stored, own, tolerance) => {
    const made = await product(own, stored);
    expect(made.types).toEqual([`${stored} 4,3`, 'f32 3', `${stored} 3`]);
    expect(made.operators).toEqual(['DynamicQuantizeLinear', 'MatMulInteger', 'Mul', 'Cast', 'Mul']);
    for (const [i, value] of values(made, stored === 'i8').entries())
      expect(Math.abs(value - weight.data[i]!)).toBeLessThan(tolerance * 8);
  });

  it('carries codes over that a folder has, with inputs rounded as they were calibrated, or by token', async () => {
    const own = scheme({ format: signedIntegers[6]!, granularity: perChannel });
    const fixed = await product(own, 'u8', packedAs(own, { scheme: schemes.activations.int8Static, scale: 0.25 }));
    expect(fixed.operators).toEqual(['QuantizeLinear', 'DequantizeLinear', 'DequantizeLinear', 'MatMul']);
    const { codes, scales } = quantize(weight, own);
    expect(values(fixed, false)).toEqual(
      Float32Array.from(codes, (code, i) => own.format.decode(code) * scales[Math.floor(i / 4)]!),
    );
    const byToken = await product(own, 'u8', packedAs(own, { scheme: schemes.activations.int8PerToken }));
    expect(byToken.operators).toContain('ReduceMax');
    expect(byToken.operators).not.toContain('DynamicQuantizeLinear');
  });

  it('refuses what saturates on older processors, and codes without a scale a row', async () => {
    const full = scheme({ format: signedIntegers[6]!, granularity: perChannel });
    await expect(product(full, 'i8')).rejects.toThrow(
      'w: codes from -128 to 127 saturate as signed bytes on processors without VNNI',
    );
    const groups = scheme({ format: signedIntegers[6]!, granularity: { kind: 'group', size: 2 } });
    await expect(product(groups, 'u8')).rejects.toThrow('w: scales per group cannot be written');
  });
});
