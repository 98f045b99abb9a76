import {
  dequantize,
  f16ToF32,
  f32ToF16,
  int4,
  perGroup,
  type QuantizedTensor,
  quantize,
  scheme,
  type Tensor,
  tensor,
  uint3,
  uint4,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { awqLayout } from './layout.js';

const layout = awqLayout();
const linear = (outFeatures: number, inFeatures: number, module = 'm') => ({
  module,
  inFeatures,
  outFeatures,
  transposed: false,
  bias: false,
});
const target = scheme({ format: uint4, granularity: perGroup(4), zeroPoint: 'integer' });
const hex = (t: Tensor | undefined) =>
  [...new Uint32Array(((t as Tensor).data as Int32Array).slice().buffer)].map((word) =>
    word.toString(16).padStart(8, '0'),
  );

describe('the AWQ layout', () => {
  it('golden words: columns 0..7 with codes 0..7 are 75316420, zero points alike and as they are', () => {
    const quantized: QuantizedTensor = {
      scheme: target,
      shape: [8, 4],
      codes: Uint8Array.from({ length: 32 }, (_, i) => Math.floor(i / 4)),
      scales: new Float32Array(8).fill(0.5),
      zeroPoints: Float32Array.from({ length: 8 }, (_, row) => row),
    };
    const tensors = layout.encode({ linear: linear(8, 4), scheme: target }, quantized);
    expect(hex(tensors.get('m.qweight'))).toEqual(new Array(4).fill('75316420'));
    expect(tensors.get('m.qweight')?.shape).toEqual([4, 1]);
    expect(hex(tensors.get('m.qzeros'))).toEqual(['75316420']);
  });

  it('decodes a module made by hand: w = (q - z) * s', async () => {
    const interleaved = (codes: readonly number[]) =>
      [0, 2, 4, 6, 1, 3, 5, 7].reduce((word, column, nibble) => word | (codes[column] << (4 * nibble)), 0);
    const code = (input: number, output: number) => (3 * input + 5 * output) % 16;
    const eight = Array.from({ length: 8 }, (_, i) => i);
    const tensors = new Map<string, Tensor>([
      [
        'm.qweight',
        tensor(
          'i32',
          [8, 1],
          Int32Array.from(eight, (i) => interleaved(eight.map((o) => code(i, o)))),
        ),
      ],
      ['m.qzeros', tensor('i32', [2, 1], Int32Array.of(interleaved(eight), interleaved(eight.map((o) => 15 - o))))],
      [
        'm.scales',
        tensor(
          'f16',
          [2, 8],
          Uint16Array.from({ length: 16 }, (_, i) => f32ToF16((i + 1) / 8)),
        ),
      ],
    ]);
    const reader = layout.reader({ quant_method: 'awq', bits: 4, group_size: 4, zero_point: true, version: 'GEMM' })!;
    const values = dequantize(await reader.read('m', tensorLookup(tensors))).data;
    for (let o = 0; o < 8; o++)
      for (let i = 0; i < 8; i++) {
        const group = Math.floor(i / 4);
        const scale = f16ToF32(f32ToF16((8 * group + o + 1) / 8));
        expect(values[o * 8 + i]).toBe((code(i, o) - (group === 0 ? o : 15 - o)) * scale);
      }
  });

  it.each([
    ['asymmetric groups', target],
    ['symmetric groups', scheme({ format: int4, granularity: perGroup(8) })],
    ['channels', scheme({ format: uint4, zeroPoint: 'integer' })],
  ])('round trips %s in value', async (_name, of) => {
    const weight = tensor(
      'f32',
      [16, 24],
      Float32Array.from({ length: 384 }, (_, i) => Math.sin(i * i)),
    );
    const quantized = quantize(weight, of);
    const module = { linear: linear(16, 24), scheme: of };
    expect(layout.refuse(module)).toBeUndefined();
    const tensors = layout.encode(module, quantized);
    for (const { name, dtype, shape } of layout.plan(module))
      expect(tensors.get(name)).toMatchObject({ dtype: dtype.toLowerCase(), shape });
    const { config } = layout.config([module], ['x'], { method: 'awq', options: {}, head: 'lm_head' });
    expect(config.modules_to_not_convert).toEqual(['lm_head', 'x']);
    const back = await layout.reader(JSON.parse(JSON.stringify(config)))!.read('m', tensorLookup(tensors));
    expect(dequantize(back)).toEqual(dequantize(quantized));
  });

  it('says why it cannot store a module, or two of them together', () => {
    const of = (own: typeof target, inFeatures = 8, outFeatures = 8) =>
      layout.refuse({ linear: linear(outFeatures, inFeatures), scheme: own });
    expect(of(scheme({ format: uint3, zeroPoint: 'integer' }))).toContain('4 bits, not uint3');
    expect(of({ ...target, zeroPoint: 'float' })).toContain('not float ones');
    expect(of(target, 8, 12)).toContain('multiple of 8');
    expect(of(target, 10)).toContain('multiple of the group size 4');
    const other = { linear: linear(8, 8, 'n'), scheme: scheme({ format: uint4, zeroPoint: 'integer' }) };
    expect(layout.refuseTogether?.([{ linear: linear(8, 8), scheme: target }, other])).toContain('m has 4, n -1');
    const moved = { ...quantize(tensor('f32', [8, 8]), target), groupIndex: new Int32Array(8) };
    expect(() => layout.encode({ linear: linear(8, 8), scheme: target }, moved)).toThrow('static groups');
    expect(() => layout.reader({ quant_method: 'awq', bits: 4, version: 'gemv' })).toThrow('"gemv"');
  });
});
