import { dequantize, type LinearDescription, quantize, schemes, type Tensor, tensor } from '@q/core';
import { describe, expect, it } from 'vitest';
import { readerOf } from '../testing/reader-of.js';
import { tensorLookup } from '../testing/tensor-lookup.js';
import { mxfp4Layout } from './layout.js';

const linear: LinearDescription = {
  ...{ module: 'experts.0.down_proj', inFeatures: 64, outFeatures: 3 },
  ...{ transposed: true, bias: true, stacked: true },
};
const layout = mxfp4Layout();
const module = { linear, scheme: schemes.mxfp4 };
const record = { method: 'rtn', options: {}, head: 'lm_head' };
/** `FP4_VALUES` of transformers' `integrations/mxfp4.py`. */
const values = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];

describe('the mxfp4 layout', () => {
  it('reads blocks as transformers does: low halves first, times two to the scale less 127', async () => {
    const blocks = Uint8Array.from({ length: 32 }, (_, i) => (37 * i + 11) % 256);
    const tensors = new Map<string, Tensor>([
      ['m.blocks', tensor('u8', [1, 2, 16], blocks)],
      ['m.scales', tensor('u8', [1, 2], Uint8Array.of(126, 130))],
    ]);
    const expected = Array.from(blocks).flatMap((byte, i) =>
      [byte & 15, byte >> 4].map((code) => values[code] * 2 ** (i < 16 ? -1 : 3)),
    );
    const reader = readerOf(layout, { quant_method: 'mxfp4' });
    expect([...dequantize(await reader.read('m', tensorLookup(tensors))).data]).toEqual(expected);
    const nan = new Map(tensors).set('m.scales', tensor('u8', [1, 2], Uint8Array.of(126, 255)));
    await expect(reader.read('m', tensorLookup(nan))).rejects.toThrow('element 1 is NaN');
    const short = new Map(tensors).set('m.blocks', tensor('u8', [1, 2, 8], new Uint8Array(16)));
    await expect(reader.read('m', tensorLookup(short))).rejects.toThrow('blocks of 8 bytes');
  });

  it('reads back what it wrote, and writes the same bytes again', async () => {
    const weight = tensor(
      'f32',
      [3, 64],
      Float32Array.from({ length: 192 }, (_, i) => Math.sin(i) * 2 ** ((i >> 5) - 3)),
    );
    const quantized = quantize(weight, schemes.mxfp4);
    const tensors = layout.encode(module, quantized);
    expect(layout.plan(module).map(({ name, shape }) => [name, shape])).toEqual(
      [...tensors].map(([name, { shape }]) => [name, shape]),
    );
    const { config } = layout.config([module], ['model.layers.3.self_attn.q_proj'], record);
    expect(config.modules_to_not_convert).toEqual([
      'model.layers.*.self_attn',
      'model.layers.*.mlp.router',
      'model.embed_tokens',
      'lm_head',
    ]);
    const read = await readerOf(layout, config).read(linear.module, tensorLookup(tensors));
    expect(dequantize(read).data).toEqual(dequantize(quantized).data);
    expect(layout.encode(module, read)).toEqual(tensors);
  });

  it('leaves everything but stacked experts, and refuses what it cannot hold', () => {
    expect(layout.leaves?.(linear)).toBeUndefined();
    expect(layout.leaves?.({ ...linear, stacked: undefined as never })).toContain('experts');
    expect(layout.refuse(module)).toBeUndefined();
    expect(layout.refuse({ ...module, scheme: schemes.mxfp6 })).toContain('--weights mxfp4');
    expect(layout.refuse({ ...module, linear: { ...linear, inFeatures: 48 } })).toContain('do not divide');
    expect(layout.refuse({ ...module, reordered: true })).toContain('--no-act-order');
  });
});
