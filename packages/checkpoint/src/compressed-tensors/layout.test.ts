import {
  bf16Scale,
  dequantize,
  f16Scale,
  f32Scale,
  int3,
  int4,
  int8,
  type LinearDescription,
  perChannel,
  perGroup,
  perTensor,
  type QuantizedTensor,
  type Scheme,
  scheme,
  schemes,
  type Tensor,
  tensor,
  uint3,
  uint4,
  uint8,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import type { QuantizedModule } from '../layout.js';
import { readerOf } from '../testing/reader-of.js';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { compressedTensorsLayout } from './layout.js';

const linear = (outFeatures: number, inFeatures: number, module = 'm'): LinearDescription => ({
  module,
  inFeatures,
  outFeatures,
  transposed: false,
  bias: false,
});
const layout = compressedTensorsLayout();
const record = { method: 'rtn', options: {}, head: 'lm_head' };
const configOf = (modules: readonly QuantizedModule[], kept: readonly string[] = []) =>
  layout.config(modules, kept, record).config;

const words = (value: Tensor | undefined) =>
  Array.from((value as Tensor).data as Int32Array, (word) => (word >>> 0).toString(16).padStart(8, '0'));

/** Codes, scales and zero points in a pattern without symmetry. */
function made(of: Scheme, [rows, columns]: readonly [number, number]): QuantizedTensor {
  const size = of.granularity.kind === 'group' ? of.granularity.size : columns;
  const groups = (rows * columns) / size;
  const levels = 2 ** of.format.bits;
  return {
    scheme: of,
    shape: [rows, columns],
    codes: Uint8Array.from({ length: rows * columns }, (_, i) => (7 * i + Math.floor(i / 5)) % levels),
    scales: Float32Array.from({ length: groups }, (_, i) => 2 ** -(i % 5)),
    ...(of.zeroPoint === 'none'
      ? {}
      : { zeroPoints: Float32Array.from({ length: groups }, (_, i) => (3 * i + 1) % levels) }),
  };
}

describe('the compressed-tensors layout', () => {
  it('packs -4 to 3 in 4 bits as ba987654, scales [out, groups], and the shape', () => {
    const of = scheme({ format: int4, granularity: perGroup(8), scaleStorage: f16Scale });
    const module = { linear: linear(1, 8), scheme: of };
    const codes = Uint8Array.of(4, 5, 6, 7, 8, 9, 10, 11);
    const tensors = layout.encode(module, { scheme: of, shape: [1, 8], codes, scales: Float32Array.of(0.5) });
    expect(words(tensors.get('m.weight_packed'))).toEqual(['ba987654']);
    expect(tensors.get('m.weight_scale')).toEqual(tensor('f16', [1, 1], Uint16Array.of(0x3800)));
    expect(tensors.get('m.weight_shape')).toEqual(tensor('i64', [2], BigInt64Array.of(1n, 8n)));
    expect([...tensors.keys()]).not.toContain('m.weight_zero_point');
  });

  it('reads 3 bits that cross words, as compressed-tensors 0.19 packs them, and refuses those of old releases', async () => {
    // pack_to_int32 of v[i][j] = (5i + 3j) % 8 - 4, and with packed_dim=0 of z[i][j] = (3i + j) % 8 - 4.
    const packed = [
      ...[-1733573736, 3, -983687995, 12, 720430634, 6, 1468477783, 1, -1137079620, 10, -506702367, 5],
      ...[241348366, 15, 1930786931, 8, -1733573736, 3, -983687995, 12, 720430634, 6, 1468477783, 1],
    ];
    const zeros = [-1733573736, -506702367, 720430634, 3, 5, 6];
    const of = scheme({ format: uint3, granularity: perGroup(4), zeroPoint: 'integer', scaleStorage: f32Scale });
    const reader = readerOf(layout, configOf([{ linear: linear(12, 12), scheme: of }]));
    const tensors = new Map<string, Tensor>([
      ['m.weight_packed', tensor('i32', [12, 2], Int32Array.from(packed))],
      ['m.weight_scale', tensor('f32', [12, 3], new Float32Array(36).fill(1))],
      ['m.weight_shape', tensor('i64', [2], BigInt64Array.of(12n, 12n))],
      ['m.weight_zero_point', tensor('i32', [2, 3], Int32Array.from(zeros))],
    ]);
    const read = await reader.read('m', tensorLookup(tensors));
    expect(read.codes).toEqual(Uint8Array.from({ length: 144 }, (_, k) => (5 * Math.floor(k / 12) + 3 * (k % 12)) % 8));
    expect(read.zeroPoints).toEqual(Float32Array.from({ length: 36 }, (_, k) => (3 * Math.floor(k / 3) + (k % 3)) % 8));
    const wide = new Map(tensors).set('m.weight_shape', tensor('i64', [2], BigInt64Array.of(12n, 640n)));
    wide.set('m.weight_packed', tensor('i32', [12, 64], new Int32Array(12 * 64)));
    await expect(reader.read('m', tensorLookup(wide))).rejects.toThrow('10 codes of 3 bits in each word');
  });

  it('packs zero points along the output features', () => {
    const of = scheme({ format: uint4, granularity: perGroup(8), zeroPoint: 'integer', scaleStorage: f32Scale });
    const module = { linear: linear(10, 16), scheme: of };
    const quantized = {
      ...made(of, [10, 16]),
      zeroPoints: Float32Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? i / 2 : 15 - (i - 1) / 2)),
    };
    const zeros = layout.encode(module, quantized).get('m.weight_zero_point');
    expect(zeros?.shape).toEqual([2, 2]);
    // Column 0 has 0 to 9, column 1 has 15 down to 6; eight a word.
    expect(words(zeros)).toEqual(['76543210', '89abcdef', '00000098', '00000067']);
  });

  it.each([
    ['int4 g128', schemes.int4, [8, 256]],
    ['int4 a channel, bf16', scheme({ format: int4, granularity: perChannel, scaleStorage: bf16Scale }), [3, 13]],
    ['uint4 g32', scheme({ format: uint4, granularity: perGroup(32), zeroPoint: 'integer' }), [11, 64]],
    ['int8 g64', scheme({ format: int8, granularity: perGroup(64) }), [5, 128]],
    ['uint8 a channel', scheme({ format: uint8, zeroPoint: 'integer', scaleStorage: f32Scale }), [7, 10]],
    ['uint2 g16', schemes.integer(2, { groupSize: 16, zeroPoint: 'integer' }), [18, 48]],
  ] as const)('reads back what it wrote, and writes the same bytes again (%s)', async (_, of, [rows, columns]) => {
    const module: QuantizedModule = { linear: linear(rows, columns), scheme: of };
    expect(layout.refuse(module)).toBeUndefined();
    const quantized = made(of, [rows, columns]);
    const tensors = layout.encode(module, quantized);
    expect(layout.plan(module).map(({ name, dtype, shape: planned }) => [name, dtype.toLowerCase(), planned])).toEqual(
      [...tensors].map(([name, each]) => [name, each.dtype, each.shape]),
    );
    const read = await readerOf(layout, configOf([module])).read('m', tensorLookup(tensors));
    expect(read).toEqual(quantized);
    expect(layout.encode(module, read)).toEqual(tensors);
  });

  it('writes the config that the library validates: no key of a group or its arguments beyond these', () => {
    const module = { linear: linear(8, 256), scheme: schemes.int4 };
    expect(configOf([module], ['kept'])).toEqual({
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      quantization_status: 'compressed',
      kv_cache_scheme: null,
      ignore: ['lm_head', 'kept'],
      config_groups: {
        group_0: {
          targets: ['Linear'],
          weights: { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 128, dynamic: false },
          input_activations: null,
          output_activations: null,
        },
      },
    });
  });

  it('keeps modules of different widths apart', async () => {
    const modules: QuantizedModule[] = [
      { linear: linear(4, 128, 'a'), scheme: schemes.int4 },
      { linear: linear(4, 128, 'b'), scheme: schemes.integer(8, { groupSize: 64 }) },
    ];
    const reader = readerOf(layout, configOf(modules));
    const tensors = tensorLookup(
      new Map(modules.flatMap((each) => [...layout.encode(each, made(each.scheme, [4, 128]))])),
    );
    for (const each of modules)
      expect(await reader.read(each.linear.module, tensors)).toEqual(made(each.scheme, [4, 128]));
  });

  it('reads a hand-made module as (code - zero) * scale, and group indices of older files', async () => {
    const group = { num_bits: 8, type: 'int', symmetric: false, strategy: 'group', group_size: 2 };
    const reader = readerOf(layout, {
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      config_groups: { a: { targets: ['re:.*m$'], weights: group } },
    });
    const tensors = new Map<string, Tensor>([
      ['m.weight_packed', tensor('i32', [1, 1], Int32Array.of(0x04_03_02_01))],
      ['m.weight_scale', tensor('f32', [1, 2], Float32Array.of(0.5, 10))],
      ['m.weight_zero_point', tensor('i32', [1, 2], Int32Array.of(1, 3))],
      ['m.weight_shape', tensor('i64', [2], BigInt64Array.of(1n, 4n))],
    ]);
    expect([...dequantize(await reader.read('m', tensorLookup(tensors))).data]).toEqual([0, 0.5, 0, 10]);
    tensors.set('m.weight_g_idx', tensor('i32', [4], Int32Array.of(0, 1, 0, 1)));
    expect([...dequantize(await reader.read('m', tensorLookup(tensors))).data]).toEqual([0, -10, 1, 10]);
    tensors.set('m.weight_g_idx', tensor('i32', [4], Int32Array.of(0, 1, 0, 2)));
    await expect(reader.read('m', tensorLookup(tensors))).rejects.toThrow('entry 3 is 2');
  });

  it('takes the zero points of a symmetric file that are 0, and refuses others', async () => {
    const group = { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 4 };
    const reader = readerOf(layout, {
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      config_groups: { a: { targets: ['re:.*m$'], weights: group } },
    });
    const tensors = new Map<string, Tensor>([
      ['m.weight_packed', tensor('i32', [1, 1], Int32Array.of(0x98_79))],
      ['m.weight_scale', tensor('f32', [1, 1], Float32Array.of(0.5))],
      ['m.weight_shape', tensor('i64', [2], BigInt64Array.of(1n, 4n))],
    ]);
    const bare = dequantize(await reader.read('m', tensorLookup(tensors))).data;
    tensors.set('m.weight_zero_point', tensor('i8', [1, 1], Int8Array.of(0)));
    expect(dequantize(await reader.read('m', tensorLookup(tensors))).data).toEqual(bare);
    tensors.set('m.weight_zero_point', tensor('i8', [1, 1], Int8Array.of(3)));
    await expect(reader.read('m', tensorLookup(tensors))).rejects.toThrow(
      'm.weight_zero_point: element 0 of i8 is 3: config.json says that the weights are symmetric',
    );
  });

  it.each([
    [scheme({ format: int3 }), 'not int3'],
    [schemes.nf4, 'not nf4'],
    [scheme({ format: int4, granularity: perTensor }), 'not per tensor'],
    [scheme({ format: uint4, zeroPoint: 'float' }), 'whole zero points'],
    [scheme({ format: int4, granularity: perGroup(48) }), 'not a multiple of the group size 48'],
    [scheme({ format: int4, zeroPoint: 'integer' }), 'uint4'],
  ])('refuses what it cannot hold (%#)', (of, message) => {
    expect(layout.refuse({ linear: linear(8, 64), scheme: of })).toContain(message);
  });

  it('refuses quantized inputs, and groups that were reordered', () => {
    const module = { linear: linear(2, 256), scheme: schemes.int4 };
    expect(layout.refuse({ ...module, activation: { scheme: schemes.activations.int8PerToken } })).toContain(
      'compressed-tensors-int8',
    );
    const reordered = { ...made(schemes.int4, [2, 256]), groupIndex: new Int32Array(256) };
    expect(() => layout.encode(module, reordered)).toThrow('static groups');
  });

  it('warns of what other readers do not run', () => {
    const warned = (of: Scheme, out = 64, inputs = 256) =>
      layout.caution?.({ linear: linear(out, inputs), scheme: of });
    expect(warned(schemes.int4)).toBeUndefined();
    expect(warned(schemes.integer(4, { groupSize: 16 }))).toContain('groups of 32, 64, 128');
    expect(warned(schemes.int4, 40)).toContain('multiple of [64, 128]');
    expect(warned(schemes.integer(8, { groupSize: 128, zeroPoint: 'integer' }))).toContain('without zero points');
    expect(warned(schemes.integer(2, { groupSize: 128 }))).toContain('not of 2');
    expect(warned(schemes.integer(4, { groupSize: 128, zeroPoint: 'integer' }))).toContain('transformers');
    expect(layout.caution?.({ linear: { ...linear(64, 128), transposed: true }, scheme: schemes.int4 })).toContain(
      'Conv1D',
    );
  });

  it('leaves configs of others alone', () => {
    expect(layout.reader({ quant_method: 'gptq' })).toBeUndefined();
    expect(layout.reader({ quant_method: 'compressed-tensors', format: 'int-quantized' })).toBeUndefined();
  });

  it.each([
    ['weight_packed', tensor('i32', [2, 3]), 'does not fit weight_shape'],
    ['weight_scale', tensor('f16', [2, 3]), 'shape [2,3]'],
    ['weight_shape', tensor('i64', [1]), 'weight_shape'],
    ['weight_packed', tensor('u8', [2, 32]), 'u8'],
  ] as const)('refuses a damaged %s (%#)', async (part, value, message) => {
    const module = { linear: linear(2, 256), scheme: schemes.int4 };
    const tensors = layout.encode(module, made(schemes.int4, [2, 256]));
    tensors.set(`m.${part}`, value as Tensor);
    await expect(readerOf(layout, configOf([module])).read('m', tensorLookup(tensors))).rejects.toThrow(message);
  });

  it.each([
    [{ num_bits: 9 }, '9 bits'],
    [{ type: 'float' }, 'float'],
    [{ strategy: 'block' }, 'per block'],
    [{ group_size: 0 }, 'group_size is 0'],
  ])('refuses arguments that it cannot read (%#)', async (own, message) => {
    const module = { linear: linear(2, 256), scheme: schemes.int4 };
    const weights = { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 128, ...own };
    const reader = readerOf(layout, { ...configOf([module]), config_groups: { a: { targets: ['Linear'], weights } } });
    const tensors = tensorLookup(layout.encode(module, made(schemes.int4, [2, 256])));
    await expect((async () => reader.read('m', tensors))()).rejects.toThrow(message);
  });
});
