import {
  type ActivationScheme,
  absMax127Scale,
  dequantize,
  f16Scale,
  f32Scale,
  int4,
  int8,
  type LinearDescription,
  perGroup,
  perTensor,
  perToken,
  type QuantizedTensor,
  scheme,
  type Tensor,
  tensor,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { bitsandbytesInt8Layout } from './layout.js';

const linear: LinearDescription = { module: 'm', inFeatures: 3, outFeatures: 2, transposed: false, bias: false };
const rows = scheme({ format: int8, scaleStorage: absMax127Scale });
const activation: ActivationScheme = {
  scheme: scheme({ format: int8, granularity: perToken, scaleStorage: f32Scale, dynamic: true }),
  outlierThreshold: 6,
};
const module = { linear, scheme: rows, activation };
const layout = bitsandbytesInt8Layout();
const record = { method: 'llm-int8', options: {}, head: 'lm_head' };

const readerOf = (config: Record<string, unknown>) => {
  const reader = layout.reader(config);
  if (!reader) throw new Error('not its own config');
  return reader;
};
const own = () => layout.config([module], [], record).config;

describe('the bitsandbytes int8 layout', () => {
  const quantized: QuantizedTensor = {
    scheme: rows,
    shape: [2, 3],
    // Values -127, 0, 64 and a row of zeros.
    codes: Uint8Array.of(1, 128, 192, 128, 128, 128),
    scales: Float32Array.of(0.5, 1),
  };

  it('stores rows in two s complement, their maxima undivided, 0 for rows of zeros, and order 0', () => {
    const tensors = layout.encode(module, quantized);
    expect(tensors.get('m.weight')).toEqual(tensor('i8', [2, 3], Int8Array.of(-127, 0, 64, 0, 0, 0)));
    expect(tensors.get('m.SCB')).toEqual(tensor('f32', [2], Float32Array.of(63.5, 0)));
    expect(tensors.get('m.weight_format')).toEqual(tensor('u8', [], Uint8Array.of(0)));
    expect(layout.plan(module).map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual([
      ['m.weight', 'I8', [2, 3]],
      ['m.SCB', 'F32', [2]],
      ['m.weight_format', 'U8', []],
    ]);
  });

  it('reads back codes, scales and threshold', async () => {
    const reader = readerOf(own());
    const tensors = tensorLookup(layout.encode(module, quantized));
    expect(reader.has('m', tensors)).toBe(true);
    expect(reader.has('other', tensors)).toBe(false);
    expect(await reader.read('m', tensors)).toEqual(quantized);
    expect(await reader.activation?.('m', tensors)).toMatchObject({ outlierThreshold: 6 });
  });

  it('reads a hand-made module as q * SCB / 127', async () => {
    const tensors = new Map<string, Tensor>([
      ['m.weight', tensor('i8', [2, 2], Int8Array.of(127, -64, 1, -127))],
      ['m.SCB', tensor('f32', [2], Float32Array.of(254, 12.7))],
    ]);
    const { data } = dequantize(
      await readerOf({ quant_method: 'bitsandbytes', load_in_8bit: true }).read('m', tensorLookup(tensors)),
    );
    for (const [i, value] of [254, -128, 0.1, -12.7].entries()) expect(data[i]).toBeCloseTo(value, 5);
  });

  it('names skipped linears, and the head unless it is quantized', () => {
    expect(own()).toMatchObject({
      quant_method: 'bitsandbytes',
      load_in_8bit: true,
      llm_int8_threshold: 6,
      llm_int8_skip_modules: ['lm_head'],
    });
    expect(layout.config([module], ['a.b'], record).config.llm_int8_skip_modules).toEqual(['lm_head', 'a.b']);
    const head = { ...module, linear: { ...linear, module: 'lm_head' } };
    expect(layout.config([head], [], record).config.llm_int8_skip_modules).toEqual([]);
    const other = { ...module, activation: { ...activation, outlierThreshold: 5 } };
    expect(() => layout.config([module, other], [], record)).toThrow('6 and 5');
  });

  it('leaves configs of others alone, 4-bit ones among them', () => {
    expect(layout.reader({ quant_method: 'gptq' })).toBeUndefined();
    expect(layout.reader({ quant_method: 'bitsandbytes', load_in_4bit: true })).toBeUndefined();
  });

  it.each([
    [{ ...module, scheme: scheme({ format: int4, scaleStorage: absMax127Scale }) }, 'symmetric int8'],
    [
      { ...module, scheme: scheme({ format: int8, granularity: perGroup(2), scaleStorage: absMax127Scale }) },
      'one scale',
    ],
    [{ ...module, scheme: scheme({ format: int8, scaleStorage: f16Scale }) }, 'row maxima'],
    [{ linear, scheme: rows }, 'method llm-int8'],
    [{ ...module, activation: { ...activation, outlierThreshold: undefined } }, 'method llm-int8'],
    [
      {
        ...module,
        activation: { ...activation, scheme: scheme({ format: int8, granularity: perTensor, dynamic: true }) },
      },
      'per token',
    ],
  ])('refuses what it cannot hold (%#)', (other, words) => {
    expect(layout.refuse(module)).toBeUndefined();
    expect(layout.refuse(other)).toContain(words);
  });

  it.each([
    ['m.weight', tensor('u8', [2, 3]), 'm.weight: u8'],
    ['m.SCB', tensor('f32', [3]), 'm.SCB'],
    ['m.SCB', tensor('f32', [2], Float32Array.of(1, Number.NaN)), 'm.SCB: element 1 is NaN'],
    ['m.SCB', tensor('f32', [2], Float32Array.of(-1, 1)), 'row 0'],
    ['m.weight_format', tensor('u8', [], Uint8Array.of(2)), 'weight_format is 2'],
  ] as const)('refuses a damaged %s (%#)', async (name, damaged, words) => {
    const tensors = new Map(layout.encode(module, quantized)).set(name, damaged as Tensor);
    await expect(readerOf(own()).read('m', tensorLookup(tensors))).rejects.toThrow(words);
  });

  it('refuses a threshold that is no number', () => {
    expect(() =>
      layout.reader({ quant_method: 'bitsandbytes', load_in_8bit: true, llm_int8_threshold: 'six' }),
    ).toThrow('llm_int8_threshold is six');
  });
});
