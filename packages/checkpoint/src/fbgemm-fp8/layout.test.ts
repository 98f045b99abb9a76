import { dequantize, type LinearDescription, quantize, schemes, tensor } from '@q/core';
import { describe, expect, it } from 'vitest';
import { configText } from '../config-text.js';
import { readerOf } from '../testing/reader-of.js';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { fbgemmFp8Layout } from './layout.js';

const linear: LinearDescription = { module: 'm', inFeatures: 32, outFeatures: 16, transposed: false, bias: false };
const layout = fbgemmFp8Layout();
const activation = { scheme: schemes.activations.fp8RowWise, bound: 1200 };
const module = { linear, scheme: schemes.fp8RowWise, activation };
const record = { method: 'rtn', options: {}, head: 'lm_head' };
const weight = tensor(
  'f32',
  [16, 32],
  Float32Array.from({ length: 512 }, (_, i) => Math.sin(i) * 2 ** (i % 7)),
);

describe('the fbgemm-fp8 layout', () => {
  it('has the config and the tensors of the published Llama 3.1 405B, and reads them back', async () => {
    expect(layout.refuse(module)).toBeUndefined();
    const { config } = layout.config([module], ['model.layers.0.mlp.up_proj'], record);
    expect(configText(config, layout.floatKeys)).toContain('"activation_scale_ub": 1200.0');
    expect(config).toEqual({
      quant_method: 'fbgemm_fp8',
      activation_scale_ub: 1200,
      modules_to_not_convert: ['lm_head', 'model.layers.0.mlp.up_proj'],
    });
    const quantized = quantize(weight, schemes.fp8RowWise);
    const tensors = layout.encode(module, quantized);
    expect([...tensors].map(([name, { dtype, shape }]) => [name, dtype, shape])).toEqual([
      ['m.weight', 'f8_e4m3', [16, 32]],
      ['m.weight_scale', 'f32', [16, 1]],
    ]);
    expect(layout.plan(module).map(({ name, shape }) => [name, shape])).toEqual(
      [...tensors].map(([name, { shape }]) => [name, shape]),
    );
    const reader = readerOf(layout, config);
    expect(dequantize(await reader.read('m', tensorLookup(tensors)))).toEqual(dequantize(quantized));
    expect(await reader.activation?.('m', tensorLookup(tensors))).toEqual(activation);
  });

  it('refuses other weights, inputs without a bound, two bounds, and a config without one', () => {
    expect(layout.refuse({ ...module, scheme: schemes.fp8TensorWise })).toContain('fp8-row');
    expect(layout.refuse({ linear, scheme: schemes.fp8RowWise })).toContain('--input-bound 1200');
    const tensorWise = { scheme: schemes.activations.fp8TensorWise, bound: 1200 };
    expect(layout.refuse({ ...module, activation: tensorWise })).toContain('per token');
    const other = { ...module, activation: { ...activation, bound: 600 } };
    expect(layout.refuseTogether?.([module, other])).toContain('1200 and 600');
    expect(layout.refuseTogether?.([module, module])).toBeUndefined();
    expect(() => readerOf(layout, { quant_method: 'fbgemm_fp8', activation_scale_ub: null })).toThrow('is null');
    expect(layout.reader({ quant_method: 'fp8' })).toBeUndefined();
  });

  it('warns of sizes that FP8 kernels do not take, and of Conv1D', () => {
    expect(layout.caution?.(module)).toBeUndefined();
    expect(layout.caution?.({ ...module, linear: { ...linear, outFeatures: 24 } })).toContain('multiples of 16');
    expect(layout.caution?.({ ...module, linear: { ...linear, transposed: true } })).toContain('Conv1D');
  });
});
