import { dequantize, e4m3, type LinearDescription, quantize, schemes, type Tensor, tensor } from '@q/core';
import { describe, expect, it } from 'vitest';
import { readerOf } from '../testing/reader-of.js';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { fp8Layout } from './layout.js';

const linear: LinearDescription = { module: 'm', inFeatures: 200, outFeatures: 3, transposed: false, bias: false };
const layout = fp8Layout();
const record = { method: 'rtn', options: {}, head: 'lm_head' };
const weight = tensor(
  'f32',
  [3, 200],
  Float32Array.from({ length: 600 }, (_, i) => Math.sin(i) * 2 ** (i % 7)),
);

describe('the fp8 layout', () => {
  it.each([
    ['tensor', schemes.fp8TensorWise, [1]],
    ['channel', schemes.fp8RowWise, [3, 1]],
    ['block', schemes.fp8BlockWise, [1, 2]],
  ] as const)('reads back what it wrote, and writes the same bytes again (%s)', async (strategy, of, shape) => {
    const module = { linear, scheme: of };
    expect(layout.refuse(module)).toBeUndefined();
    const quantized = quantize(weight, of);
    const tensors = layout.encode(module, quantized);
    expect(tensors.get('m.weight')?.dtype).toBe('f8_e4m3');
    expect(tensors.get('m.weight_scale')?.shape).toEqual(shape);
    expect(layout.plan(module).map((each) => each.shape)).toEqual([...tensors.values()].map((each) => each.shape));
    const { config } = layout.config([module], ['kept'], record);
    expect(config).toMatchObject({
      format: 'float-quantized',
      ignore: ['lm_head', 'kept'],
      config_groups: { group_0: { weights: { num_bits: 8, type: 'float', strategy, symmetric: true } } },
    });
    const read = await readerOf(layout, config).read('m', tensorLookup(tensors));
    expect(layout.encode(module, read)).toEqual(tensors);
    expect(read.scales).toEqual(quantized.scales);
  });

  it('reads a hand-made module as E4M3 times the scale, and refuses NaN', async () => {
    const reader = readerOf(layout, { quant_method: 'compressed-tensors', format: 'float-quantized' });
    const of = (...codes: number[]) =>
      tensorLookup(
        new Map<string, Tensor>([
          ['m.weight', tensor('f8_e4m3', [1, 4], Uint8Array.from(codes))],
          ['m.weight_scale', tensor('bf16', [1], Uint16Array.of(0x3f00))],
        ]),
      );
    const read = await reader.read('m', of(0x38, 0xb8, 0x7e, 0x01));
    expect([...dequantize(read).data]).toEqual([0.5, -0.5, 224, 2 ** -10]);
    await expect(reader.read('m', of(0, 0, 0x7f, 0))).rejects.toThrow('element 2 is NaN');
  });

  it('refuses what it cannot hold or run', async () => {
    expect(layout.refuse({ linear, scheme: schemes.int8 })).toContain('E4M3');
    expect(layout.refuse({ linear, scheme: schemes.mxfp8 })).toContain('per tensor');
    const bounded = { scheme: schemes.activations.fp8RowWise, bound: 1200 };
    expect(layout.refuse({ linear, scheme: schemes.fp8RowWise, activation: bounded })).toContain('fbgemm-fp8');
    const integers = { scheme: schemes.activations.int8PerToken };
    expect(layout.refuse({ linear, scheme: schemes.fp8RowWise, activation: integers })).toContain('E4M3');
    expect(e4m3.max).toBe(448);
    const reader = readerOf(layout, {
      quant_method: 'compressed-tensors',
      format: 'float-quantized',
      config_groups: { a: { targets: ['Linear'], input_activations: { num_bits: 8, type: 'int', strategy: 'token' } } },
    });
    await expect(reader.activation?.('m', tensorLookup(new Map()))).rejects.toThrow('e4m3 per token or tensor can');
    expect(layout.reader({ quant_method: 'compressed-tensors', format: 'pack-quantized' })).toBeUndefined();
  });

  it.each([
    ['token', schemes.activations.fp8RowWise, undefined],
    ['tensor', schemes.activations.fp8TensorWise, undefined],
    ['tensor', schemes.activations.fp8Static, 0.25],
  ] as const)('says in its config how inputs are quantized, per %s', async (strategy, of, scale) => {
    const activation = { scheme: of, ...(scale === undefined ? {} : { scale }) };
    const module = { linear, scheme: schemes.fp8RowWise, activation };
    expect(layout.refuse(module)).toBeUndefined();
    const tensors = layout.encode(module, quantize(weight, schemes.fp8RowWise));
    expect(tensors.has('m.input_scale')).toBe(scale !== undefined);
    expect(layout.plan(module).map(({ name }) => name)).toEqual([...tensors.keys()]);
    const { config } = layout.config([module], [], record);
    expect(config).toMatchObject({
      config_groups: { group_0: { input_activations: { num_bits: 8, type: 'float', strategy, dynamic: !scale } } },
    });
    expect(await readerOf(layout, config).activation?.('m', tensorLookup(tensors))).toEqual(activation);
    if (scale === undefined) return;
    const lost = tensorLookup(new Map([...tensors].filter(([name]) => name !== 'm.input_scale')));
    await expect(readerOf(layout, config).activation?.('m', lost)).rejects.toThrow('m.input_scale: is absent');
    expect(() => layout.encode({ ...module, activation: { scheme: of } }, quantize(weight, module.scheme))).toThrow(
      'not calibrated',
    );
  });

  it('reads folders of DeepSeek and transformers: tiles times weight_scale_inv', async () => {
    const [rows, columns] = [130, 5];
    const codes = Uint8Array.from({ length: rows * columns }, (_, i) => (i % 120) + (i % 2) * 128);
    const scales = Float32Array.of(0.5, 3);
    const tensors = tensorLookup(
      new Map<string, Tensor>([
        ['m.weight', tensor('f8_e4m3', [rows, columns], codes)],
        ['m.weight_scale_inv', tensor('f32', [2, 1], scales)],
      ]),
    );
    const config = { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [128, 128], activation_scheme: 'dynamic' };
    const reader = readerOf(layout, config);
    expect(reader.note).toContain('activation_scheme dynamic');
    expect(reader.has('m', tensors)).toBe(true);
    const expected = Array.from(codes, (code, i) => e4m3.decode(code) * scales[i < 128 * columns ? 0 : 1]);
    expect([...dequantize(await reader.read('m', tensors)).data]).toEqual(expected.map(Math.fround));
    const small = readerOf(layout, { ...config, weight_block_size: [64, 128] });
    await expect(small.read('m', tensors)).rejects.toThrow(
      'm.weight_scale_inv: shape [2,1] was found; [1] or [130,1] or [3,1]',
    );
    expect(() => layout.reader({ ...config, weight_block_size: 128 })).toThrow('weight_block_size');
    expect(() => layout.reader({ ...config, fmt: 'e5m2' })).toThrow('only e4m3');
  });
});
