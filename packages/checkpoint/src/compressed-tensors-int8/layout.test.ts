import {
  type ActivationScheme,
  absMax127Scale,
  bf16Scale,
  dequantize,
  f16Scale,
  f32Scale,
  int4,
  int8,
  type LinearDescription,
  perChannel,
  perGroup,
  perTensor,
  perToken,
  type QuantizedTensor,
  type Scheme,
  scheme,
  type Tensor,
  tensor,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import type { QuantizedModule } from '../layout.js';
import { readerOf } from '../testing/reader-of.js';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { compressedTensorsInt8Layout } from './layout.js';

const linear: LinearDescription = { module: 'm', inFeatures: 3, outFeatures: 2, transposed: false, bias: false };
const weights = (granularity: Scheme['granularity'], scaleStorage = f32Scale) =>
  scheme({ format: int8, granularity, scaleStorage });
const inputs = (granularity: Scheme['granularity'], dynamic: boolean): ActivationScheme => ({
  scheme: scheme({ format: int8, granularity, scaleStorage: f32Scale, dynamic }),
});
const perChannelModule: QuantizedModule = { linear, scheme: weights(perChannel), activation: inputs(perToken, true) };
const staticModule: QuantizedModule = {
  linear,
  scheme: weights(perTensor),
  activation: { ...inputs(perTensor, false), scale: 0.25 },
};
const layout = compressedTensorsInt8Layout();
const record = { method: 'rtn', options: {}, head: 'lm_head' };
const quantized = (of: Scheme): QuantizedTensor => ({
  scheme: of,
  shape: [2, 3],
  codes: Uint8Array.of(1, 128, 192, 129, 127, 255),
  scales: of.granularity.kind === 'tensor' ? Float32Array.of(0.5) : Float32Array.of(0.5, 2),
});

const configOf = (modules: readonly QuantizedModule[], kept: readonly string[] = []) =>
  layout.config(modules, kept, record).config;

describe('the compressed-tensors int8 layout', () => {
  it('stores signed codes, scales [out, 1] or [1], and static input scales [1]', () => {
    const channel = layout.encode(perChannelModule, quantized(perChannelModule.scheme));
    expect([...channel.keys()]).toEqual(['m.weight', 'm.weight_scale']);
    expect(channel.get('m.weight')).toEqual(tensor('i8', [2, 3], Int8Array.of(-127, 0, 64, 1, -1, 127)));
    expect(channel.get('m.weight_scale')).toEqual(tensor('f32', [2, 1], Float32Array.of(0.5, 2)));
    const fixed = layout.encode(staticModule, quantized(staticModule.scheme));
    expect(fixed.get('m.weight_scale')?.shape).toEqual([1]);
    expect(fixed.get('m.input_scale')).toEqual(tensor('f32', [1], Float32Array.of(0.25)));
    for (const [module, tensors] of [
      [perChannelModule, channel],
      [staticModule, fixed],
    ] as const)
      expect(layout.plan(module).map(({ name, shape }) => [name, shape])).toEqual(
        [...tensors].map(([name, { shape }]) => [name, shape]),
      );
    expect(() =>
      layout.encode({ ...staticModule, activation: inputs(perTensor, false) }, quantized(weights(perTensor))),
    ).toThrow('m: its static input scale');
  });

  it.each([
    [f32Scale, 'F32'],
    [f16Scale, 'F16'],
    [bf16Scale, 'BF16'],
  ])('writes scales as the scheme stores them (%#)', async (storage, dtype) => {
    const module = { ...perChannelModule, scheme: weights(perChannel, storage) };
    const stored = quantized(module.scheme);
    expect(layout.plan(module)[1].dtype).toBe(dtype);
    expect(await readerOf(layout, configOf([module])).read('m', tensorLookup(layout.encode(module, stored)))).toEqual(
      stored,
    );
  });

  it('writes the config that the library validates: no key of a group or its arguments beyond these', () => {
    expect(configOf([staticModule], ['kept'])).toEqual({
      quant_method: 'compressed-tensors',
      format: 'int-quantized',
      quantization_status: 'compressed',
      kv_cache_scheme: null,
      ignore: ['lm_head', 'kept'],
      config_groups: {
        group_0: {
          targets: ['Linear'],
          weights: { num_bits: 8, type: 'int', symmetric: true, strategy: 'tensor', dynamic: false },
          input_activations: { num_bits: 8, type: 'int', symmetric: true, strategy: 'tensor', dynamic: false },
          output_activations: null,
        },
      },
    });
  });

  it('keeps modules of different schemes apart, and reads each one s inputs', async () => {
    const other = { ...perChannelModule, linear: { ...linear, module: 'n' } };
    const alone: QuantizedModule = { linear: { ...linear, module: 'o' }, scheme: weights(perChannel) };
    const modules = [staticModule, other, alone];
    const reader = readerOf(layout, configOf(modules));
    const tensors = tensorLookup(new Map(modules.flatMap((each) => [...layout.encode(each, quantized(each.scheme))])));
    expect(await reader.activation?.('m', tensors)).toEqual(staticModule.activation);
    expect(await reader.activation?.('n', tensors)).toEqual(other.activation);
    expect(await reader.activation?.('o', tensors)).toBeUndefined();
    for (const each of modules) expect(await reader.read(each.linear.module, tensors)).toEqual(quantized(each.scheme));
  });

  it('understands targets by name, by expression and by class', async () => {
    const args = { num_bits: 8, type: 'int', symmetric: true, dynamic: true };
    const reader = readerOf(layout, {
      quant_method: 'compressed-tensors',
      format: 'int-quantized',
      config_groups: {
        a: { targets: ['Linear'], input_activations: { ...args, strategy: 'tensor' } },
        b: { targets: ['re:.*mlp'], input_activations: { ...args, strategy: 'token' } },
        c: { targets: ['x.mlp.exact.not'], input_activations: null },
      },
    });
    const kind = async (module: string) =>
      (await reader.activation?.(module, tensorLookup(new Map())))?.scheme.granularity.kind;
    expect(await kind('x.attn.q')).toBe('tensor');
    expect(await kind('x.mlp.up')).toBe('token');
  });

  it('reads a hand-made module as q * scale', async () => {
    const tensors = new Map<string, Tensor>([
      ['m.weight', tensor('i8', [2, 2], Int8Array.of(127, -128, 2, 0))],
      ['m.weight_scale', tensor('bf16', [2, 1], Uint16Array.of(0x3f00, 0x4000))],
    ]);
    const reader = readerOf(layout, { quant_method: 'compressed-tensors', format: 'int-quantized' });
    expect([...dequantize(await reader.read('m', tensorLookup(tensors))).data]).toEqual([63.5, -64, 4, 0]);
  });

  it('leaves configs of others alone, other compressed-tensors formats among them', () => {
    expect(layout.reader({ quant_method: 'gptq' })).toBeUndefined();
    expect(layout.reader({ quant_method: 'compressed-tensors', format: 'pack-quantized' })).toBeUndefined();
  });

  it.each([
    [{ ...staticModule, scheme: scheme({ format: int4 }) }, 'symmetric int8'],
    [{ ...staticModule, scheme: weights(perGroup(2)) }, 'per tensor or per channel'],
    [{ ...staticModule, scheme: weights(perChannel, absMax127Scale) }, 'not absmax127'],
    [{ ...staticModule, activation: { ...inputs(perToken, true), outlierThreshold: 6 } }, 'bitsandbytes-int8'],
    [{ ...staticModule, activation: inputs(perToken, false) }, 'dynamic'],
  ])('refuses what it cannot hold (%#)', (other, words) => {
    expect(layout.refuse(staticModule)).toBeUndefined();
    expect(layout.refuse(other)).toContain(words);
  });

  it('warns of what other readers do not run', () => {
    expect(layout.caution?.(perChannelModule)).toBeUndefined();
    expect(layout.caution?.({ ...perChannelModule, linear: { ...linear, transposed: true } })).toContain('Conv1D');
    expect(layout.caution?.({ ...perChannelModule, activation: inputs(perTensor, true) })).toContain('vLLM');
    expect(layout.caution?.({ linear, scheme: weights(perChannel) })).toContain('vLLM');
  });

  it.each([
    ['m.weight', tensor('u8', [2, 3]), 'm.weight: u8'],
    ['m.weight_scale', tensor('f32', [3]), 'm.weight_scale: shape [3]'],
    ['m.weight_scale', tensor('f32', [1], Float32Array.of(Number.POSITIVE_INFINITY)), 'element 0 is Infinity'],
    ['m.weight_zero_point', tensor('i8', [1], Int8Array.of(3)), 'asymmetric'],
    ['m.input_scale', tensor('f32', [1], Float32Array.of(0)), 'static scale of 0'],
  ] as const)('refuses a damaged %s (%#)', async (name, damaged, words) => {
    const tensors = tensorLookup(
      new Map(layout.encode(staticModule, quantized(staticModule.scheme))).set(name, damaged as Tensor),
    );
    const reader = readerOf(layout, configOf([staticModule]));
    await expect(Promise.all([reader.read('m', tensors), reader.activation?.('m', tensors)])).rejects.toThrow(words);
  });

  it('refuses inputs that it cannot run, and a static scale that is not there', async () => {
    const config = configOf([staticModule]);
    const none = tensorLookup(new Map());
    await expect(readerOf(layout, config).activation?.('m', none)).rejects.toThrow('m.input_scale: is absent');
    const asymmetric = JSON.parse(JSON.stringify(config).replaceAll('"symmetric":true', '"symmetric":false'));
    await expect(readerOf(layout, asymmetric).activation?.('m', none)).rejects.toThrow('asymmetric');
  });
});
