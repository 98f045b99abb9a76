import {
  dequantize,
  f16Scale,
  f16ToF32,
  f32Scale,
  f32ToF16,
  type LinearDescription,
  perChannel,
  perGroup,
  type QuantizedTensor,
  scheme,
  signedIntegers,
  type Tensor,
  tensor,
  unsignedIntegers,
} from '@q/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { gptqLayout } from './layout.js';

const linear = (inFeatures: number, outFeatures: number): LinearDescription => ({
  module: 'm',
  inFeatures,
  outFeatures,
  transposed: false,
  bias: false,
});
const hex = (t: Tensor | undefined) =>
  [...new Uint32Array(((t as Tensor).data as Int32Array).buffer)].map((word) => word.toString(16).padStart(8, '0'));

function symmetric(
  bits: number,
  inFeatures: number,
  outFeatures: number,
  code: (row: number, column: number) => number,
): QuantizedTensor {
  return {
    scheme: scheme({ format: signedIntegers[bits - 2] }),
    shape: [outFeatures, inFeatures],
    codes: Uint8Array.from({ length: inFeatures * outFeatures }, (_, i) =>
      code(Math.floor(i / inFeatures), i % inFeatures),
    ),
    scales: new Float32Array(outFeatures).fill(0.5),
  };
}

describe('the GPTQ layout', () => {
  it.each([
    [4, 8, ['76543210']],
    [2, 16, ['e4e4e4e4']],
    [8, 4, ['03020100']],
    [3, 32, ['88fac688', 'c688fac6', 'fac688fa']],
  ])('%d bits: golden words along the input features', (bits, inFeatures, words) => {
    const quantized = symmetric(bits, inFeatures, 32, (_, column) => column % 2 ** bits);
    const module = { linear: linear(inFeatures, 32), scheme: quantized.scheme };
    const qweight = gptqLayout().encode(module, quantized).get('m.qweight');
    expect(qweight?.shape).toEqual([words.length, 32]);
    const all = hex(qweight);
    for (let column = 0; column < 32; column++) expect(words.map((_, i) => all[i * 32 + column])).toEqual(words);
  });

  it.each([
    [4, 1, ['77777777']],
    [8, 1, ['7f7f7f7f']],
    [2, 1, ['55555555']],
    [3, 1, ['db6db6db', 'b6db6db6', '6db6db6d']],
    [4, 2, ['88888888']],
    [8, 2, ['80808080']],
    [2, 2, ['aaaaaaaa']],
    [3, 2, ['24924924', '49249249', '92492492']],
  ] as const)('%d bits, version %d: golden words of symmetric zero points', (bits, version, words) => {
    const quantized = symmetric(bits, 32, 32, () => 0);
    const qzeros = gptqLayout({ version })
      .encode({ linear: linear(32, 32), scheme: quantized.scheme }, quantized)
      .get('m.qzeros');
    expect(hex(qzeros).slice(0, words.length)).toEqual([...words]);
  });

  it('decodes a module made by hand: w = (q - zero) * scale by g_idx', async () => {
    // 8 inputs, 8 outputs, 4 bits, groups of 4; inputs 0..7 belong to groups 1,0,1,0,...: act-order.
    const tensors = new Map<string, Tensor>([
      [
        'm.qweight',
        tensor(
          'i32',
          [1, 8],
          Int32Array.from({ length: 8 }, (_, row) => 0x76543210 ^ (row * 0x11111111)),
        ),
      ],
      ['m.qzeros', tensor('i32', [2, 1], Int32Array.of(0x76543210, 0x01234567))],
      [
        'm.scales',
        tensor(
          'f16',
          [2, 8],
          Uint16Array.from({ length: 16 }, (_, i) => f32ToF16((i + 1) / 8)),
        ),
      ],
      ['m.g_idx', tensor('i32', [8], Int32Array.of(1, 0, 1, 0, 1, 0, 1, 0))],
    ]);
    for (const [version, format] of [
      [1, 'gptq'],
      [2, 'gptq_v2'],
    ] as const) {
      const reader = gptqLayout().reader({
        quant_method: 'gptq',
        bits: 4,
        group_size: 4,
        sym: false,
        desc_act: true,
        checkpoint_format: format,
      });
      const values = dequantize(await reader!.read('m', tensorLookup(tensors))).data;
      for (let row = 0; row < 8; row++) {
        for (let column = 0; column < 8; column++) {
          const q = column ^ row;
          const group = column % 2 === 0 ? 1 : 0;
          const stored = group === 0 ? row : 7 - row;
          const zero = version === 1 ? stored + 1 : stored;
          expect(values[row * 8 + column]).toBe((q - zero) * f16ToF32(f32ToF16((group * 8 + row + 1) / 8)));
        }
      }
    }
  });

  it('round trips any module that it accepts', () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom(2, 3, 4, 8),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 2 }),
        fc.constantFrom(-1, 16, 24),
        fc.boolean(),
        fc.boolean(),
        fc.integer(),
        async (bits, inUnits, outUnits, group, asymmetric, reordered, seed) => {
          const [inFeatures, outFeatures] = [32 * inUnits, 32 * outUnits];
          const groups = group === -1 ? 1 : Math.ceil(inFeatures / group);
          let state = seed;
          const draw = (n: number) => {
            state = (Math.imul(state, 1664525) + 1013904223) | 0;
            return (state >>> 8) % n;
          };
          const quantized: QuantizedTensor = {
            scheme: scheme({
              format: (asymmetric ? unsignedIntegers : signedIntegers)[bits - 2],
              granularity: group === -1 ? perChannel : perGroup(group),
              zeroPoint: asymmetric ? 'integer' : 'none',
              scaleStorage: f16Scale,
            }),
            shape: [outFeatures, inFeatures],
            codes: Uint8Array.from({ length: inFeatures * outFeatures }, () => draw(2 ** bits)),
            scales: Float32Array.from({ length: outFeatures * groups }, () => f16ToF32(0x3000 + draw(1000))),
            ...(asymmetric
              ? { zeroPoints: Float32Array.from({ length: outFeatures * groups }, () => draw(2 ** bits)) }
              : {}),
            ...(reordered && groups > 1
              ? { groupIndex: Int32Array.from({ length: inFeatures }, () => draw(groups)) }
              : {}),
          };
          const layout = gptqLayout();
          const module = { linear: linear(inFeatures, outFeatures), scheme: quantized.scheme };
          expect(layout.refuse(module)).toBeUndefined();
          const tensors = layout.encode(module, quantized);
          for (const { name, dtype, shape } of layout.plan(module))
            expect(tensors.get(name)).toMatchObject({ dtype: dtype.toLowerCase(), shape });
          const { config } = layout.config([module], [], { method: 'x', options: {} });
          const back = await layout.reader(JSON.parse(JSON.stringify(config)))!.read('m', tensorLookup(tensors));
          expect(dequantize(back)).toEqual(dequantize(quantized));
          expect(back.codes).toEqual(quantized.codes);
        },
      ),
      { numRuns: 60 },
    ));

  it('says why it cannot store a module', () => {
    const of = (options: Parameters<typeof scheme>[0], inFeatures = 64, outFeatures = 64) =>
      gptqLayout().refuse({ linear: linear(inFeatures, outFeatures), scheme: scheme(options) });
    expect(of({ format: signedIntegers[3] })).toContain('2, 3, 4, 8 bits, not int5');
    expect(of({ format: signedIntegers[2], scaleStorage: f32Scale })).toContain('f16 scales, not f32');
    expect(of({ format: signedIntegers[2], granularity: { kind: 'tensor' } })).toContain('not per tensor');
    expect(of({ format: unsignedIntegers[2] })).toContain('needs a signed format');
    expect(of({ format: signedIntegers[2] }, 60)).toContain('in_features 60 is not a multiple of 8');
    expect(of({ format: signedIntegers[0] }, 64, 24)).toContain('out_features 24 is not a multiple of 16');
    expect(gptqLayout().caution?.({ linear: linear(40, 64), scheme: scheme({ format: signedIntegers[1] }) })).toContain(
      'padded',
    );
  });

  it('records other schemes and kept modules as dynamic rules', () => {
    const base = { linear: { ...linear(64, 64), module: 'a.q' }, scheme: scheme({ format: signedIntegers[2] }) };
    const other = {
      linear: { ...linear(64, 64), module: 'a.k' },
      scheme: scheme({ format: signedIntegers[6], granularity: perGroup(32) }),
    };
    const { config } = gptqLayout().config([base, other], ['a.v'], { method: 'rtn', options: {} });
    expect(config.dynamic).toEqual({ '-:^a\\.v$': {}, '+:^a\\.k$': { bits: 8, group_size: 32, sym: true } });
  });

  it('names what is wrong with a file of others', async () => {
    const reader = gptqLayout().reader({ quant_method: 'gptq', bits: 4, group_size: -1, sym: true })!;
    const tensors = new Map<string, Tensor>([
      ['m.qweight', tensor('i32', [2, 8])],
      ['m.qzeros', tensor('i32', [1, 1])],
      ['m.scales', tensor('f16', [1, 8])],
      ['m.g_idx', tensor('i32', [8])],
    ]);
    await expect(reader.read('m', tensorLookup(tensors))).rejects.toThrow('m.qweight: shape [2,8] does not fit 4 bits');
    expect(() => gptqLayout().reader({ quant_method: 'gptq', bits: 16 })).toThrow('bits is 16');
    expect(gptqLayout().reader({ quant_method: 'awq' })).toBeUndefined();
  });
});
