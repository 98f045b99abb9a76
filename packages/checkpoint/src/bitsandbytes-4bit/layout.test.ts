import {
  absMax,
  bnbFp4,
  createRandom,
  dequantize,
  doubleQuantizedScale,
  dynamicMap,
  f16Scale,
  type LinearDescription,
  nf4,
  perChannel,
  perFlat,
  type QuantizedTensor,
  quantize,
  type Scheme,
  scheme,
  schemes,
  type Tensor,
  tensor,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import type { QuantizedModule } from '../layout.js';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { bitsandbytes4bitLayout } from './layout.js';

const linear = (outFeatures: number, inFeatures: number): LinearDescription => ({
  module: 'm',
  inFeatures,
  outFeatures,
  transposed: false,
  bias: false,
});
const layouts = { nf4: bitsandbytes4bitLayout('nf4'), fp4: bitsandbytes4bitLayout('fp4') };
const record = { method: 'rtn', options: {}, head: 'lm_head' };
const fp4Double = scheme({ format: bnbFp4, granularity: perFlat(128), scaleStorage: doubleQuantizedScale() });

function readerOf(type: 'nf4' | 'fp4', module: QuantizedModule) {
  const reader = layouts[type].reader(layouts[type].config([module], [], record).config);
  if (!reader) throw new Error('not its own config');
  return reader;
}
function random(rows: number, columns: number, of: Scheme): QuantizedTensor {
  const source = createRandom(3);
  const values = Float32Array.from({ length: rows * columns }, () => 0.02 * source.normal());
  return quantize(tensor('f32', [rows, columns], values), of, { fit: absMax() });
}
const textOf = (value: Tensor | undefined) => new TextDecoder().decode(value?.data as Uint8Array);

describe('the bitsandbytes 4-bit layouts', () => {
  it('stores the first code in the high nibble, maxima, levels, and the state as JSON', () => {
    const module = { linear: linear(1, 4), scheme: schemes.nf4 };
    const codes = Uint8Array.of(0, 15, 7, 9);
    const quantized = { scheme: schemes.nf4, shape: [1, 4], codes, scales: Float32Array.of(2) };
    const tensors = layouts.nf4.encode(module, quantized);
    expect(tensors.get('m.weight')).toEqual(tensor('u8', [2, 1], Uint8Array.of(0x0f, 0x79)));
    expect(tensors.get('m.weight.absmax')).toEqual(tensor('f32', [1], Float32Array.of(2)));
    expect(tensors.get('m.weight.quant_map')).toEqual(tensor('f32', [16], nf4.levels));
    expect(textOf(tensors.get('m.weight.quant_state.bitsandbytes__nf4'))).toBe(
      '{"quant_type":"nf4","blocksize":64,"dtype":"bfloat16","shape":[1,4]}',
    );
  });

  it.each([
    ['nf4', schemes.nf4, [6, 64]],
    ['nf4', schemes.nf4, [3, 37]],
    ['nf4', schemes.nf4DoubleQuantized, [40, 512]],
    ['nf4', schemes.nf4DoubleQuantized, [5, 7]],
    ['fp4', schemes.bnbFp4, [8, 96]],
    ['fp4', fp4Double, [8, 128]],
  ] as const)(
    'reads back what it wrote, and writes the same bytes again (%s, %#)',
    async (type, of, [rows, columns]) => {
      const module = { linear: linear(rows, columns), scheme: of };
      expect(layouts[type].refuse(module)).toBeUndefined();
      const quantized = random(rows, columns, of);
      const tensors = layouts[type].encode(module, quantized);
      expect(
        layouts[type].plan(module).map(({ name, dtype, shape: planned }) => [name, dtype.toLowerCase(), planned]),
      ).toEqual([...tensors].map(([name, each]) => [name, each.dtype, each.shape]));
      const read = await readerOf(type, module).read('m', tensorLookup(tensors));
      expect(read.codes).toEqual(quantized.codes);
      expect(read.scales).toEqual(quantized.scales);
      expect(JSON.stringify(read.scheme)).toBe(JSON.stringify(of));
      expect(layouts[type].encode(module, read)).toEqual(tensors);
      // A method need not hand over the second level: it is found again from the scales.
      const { storedScales: _, ...without } = quantized;
      if (of.scaleStorage.name !== 'double') expect(layouts[type].encode(module, without)).toEqual(tensors);
    },
  );

  it('dequantizes as map[code] * absmax, the second level as map[code] * nested_absmax + offset', async () => {
    const state = {
      ...{ quant_type: 'nf4', blocksize: 64, dtype: 'float16', shape: [1, 2] },
      ...{ nested_blocksize: 256, nested_dtype: 'float32', nested_offset: 0.5 },
    };
    const bytes = new TextEncoder().encode(JSON.stringify(state));
    const tensors = new Map<string, Tensor>([
      ['m.weight', tensor('u8', [1, 1], Uint8Array.of(0xf0))],
      ['m.weight.absmax', tensor('u8', [1], Uint8Array.of(255))],
      ['m.weight.quant_map', tensor('f32', [16], nf4.levels)],
      ['m.weight.nested_absmax', tensor('f32', [1], Float32Array.of(0.25))],
      ['m.weight.nested_quant_map', tensor('f32', [256], dynamicMap.levels)],
      ['m.weight.quant_state.bitsandbytes__nf4', tensor('u8', [bytes.length], bytes)],
    ]);
    const reader = layouts.nf4.reader({
      quant_method: 'bitsandbytes',
      load_in_4bit: true,
      bnb_4bit_quant_type: 'nf4',
    });
    const read = await reader?.read('m', tensorLookup(tensors));
    expect([...dequantize(read as QuantizedTensor).data]).toEqual([0.75, -0.75]);
  });

  it('writes the config that transformers takes', () => {
    const double = { linear: linear(64, 64), scheme: schemes.nf4DoubleQuantized };
    expect(layouts.nf4.config([double], ['a.b'], record).config).toMatchObject({
      quant_method: 'bitsandbytes',
      load_in_4bit: true,
      load_in_8bit: false,
      bnb_4bit_quant_type: 'nf4',
      bnb_4bit_use_double_quant: true,
      bnb_4bit_compute_dtype: 'bfloat16',
      llm_int8_skip_modules: ['lm_head', 'a.b'],
    });
    expect(layouts.nf4.refuseTogether?.([double, { ...double, scheme: schemes.nf4 }])).toContain('quantize the scales');
    expect(layouts.nf4.refuseTogether?.([double, double])).toBeUndefined();
    expect(() => bitsandbytes4bitLayout('nf4', { dtype: 'int8' as 'float16' })).toThrow('dtype');
  });

  it('leaves configs of others alone, the other 4-bit type among them', () => {
    const config = { quant_method: 'bitsandbytes', load_in_4bit: true };
    expect(layouts.nf4.reader({ ...config, bnb_4bit_quant_type: 'fp4' })).toBeUndefined();
    expect(layouts.nf4.reader(config)).toBeUndefined();
    expect(layouts.fp4.reader(config)).toBeDefined();
    expect(layouts.fp4.reader({ quant_method: 'bitsandbytes', load_in_8bit: true })).toBeUndefined();
    expect(() => layouts.fp4.reader({ ...config, bnb_4bit_quant_storage: 'bfloat16' })).toThrow('bfloat16');
  });

  it.each([
    [schemes.bnbFp4, 'not bnb-fp4'],
    [schemes.int4, '--weights nf4'],
    [scheme({ format: nf4, granularity: perChannel }), 'blocks of 32'],
    [scheme({ format: nf4, granularity: perFlat(48) }), 'blocks of 32'],
    [scheme({ format: nf4, granularity: perFlat(64), scaleStorage: f16Scale }), 'not f16'],
    [
      scheme({ format: nf4, granularity: perFlat(64), scaleStorage: doubleQuantizedScale({ blockSize: 64 }) }),
      'blocks of 256',
    ],
  ])('refuses what it cannot hold (%#)', (of, message) => {
    expect(layouts.nf4.refuse({ linear: linear(8, 64), scheme: of })).toContain(message);
  });

  it('refuses quantized inputs, and warns of blocks that cross rows', () => {
    const module = { linear: linear(8, 64), scheme: schemes.nf4 };
    expect(layouts.nf4.refuse({ ...module, activation: { scheme: schemes.activations.int8PerToken } })).toContain(
      'weights alone',
    );
    expect(layouts.nf4.caution?.(module)).toBeUndefined();
    expect(layouts.nf4.caution?.({ ...module, linear: linear(8, 96) })).toContain('blocks cross rows');
  });

  it.each([
    ['weight', tensor('u8', [3, 1]), 'm.weight: u8 [3,1]'],
    ['weight.absmax', tensor('f32', [2]), 'm.weight.absmax: shape [2]'],
    ['weight.absmax', tensor('f32', [1], Float32Array.of(Number.NaN)), 'NaN'],
    ['weight.quant_map', tensor('f32', [16]), 'level 0 is 0'],
    ['weight.quant_state.bitsandbytes__nf4', tensor('u8', [1], Uint8Array.of(0x7b)), 'JSON was expected'],
    ['weight.quant_state.bitsandbytes__nf4', tensor('u8', [2], Uint8Array.of(0x7b, 0x7d)), 'blocksize undefined'],
    ['weight.quant_state.bitsandbytes__nf4', tensor('u8', [4], Uint8Array.from(Buffer.from('null'))), 'blocksize'],
  ] as const)('refuses a damaged %s (%#)', async (part, value, message) => {
    const module = { linear: linear(1, 64), scheme: schemes.nf4 };
    const tensors = layouts.nf4.encode(module, random(1, 64, schemes.nf4));
    tensors.set(`m.${part}`, value as Tensor);
    await expect(readerOf('nf4', module).read('m', tensorLookup(tensors))).rejects.toThrow(message);
  });
});
