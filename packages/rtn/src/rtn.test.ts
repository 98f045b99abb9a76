import {
  createContext,
  createRandom,
  dequantize,
  meanSquare,
  minMax,
  perGroup,
  quantize,
  referenceKernels,
  type Statistics,
  scheme,
  schemes,
  tensor,
  uint4,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { rtn } from './rtn.js';

const random = createRandom(1);
const weight = tensor(
  'f32',
  [16, 64],
  Float32Array.from({ length: 1024 }, () => random.normal()),
);
const of = scheme({ format: uint4, granularity: perGroup(32), zeroPoint: 'integer' });
const nothing: Statistics = {
  get: () => {
    throw new Error('nothing was collected');
  },
  has: () => false,
};
const context = createContext();

function squaredError(values: Float32Array, weights: (column: number) => number = () => 1): number {
  return weight.data.reduce((sum, x, i) => sum + weights(i % 64) * (x - values[i]) ** 2, 0);
}

describe('rtn', () => {
  it('needs no statistics and rounds as core does', async () => {
    const method = rtn({ fit: minMax() });
    expect(method.needs).toEqual([]);
    const { quantized, report } = await method.quantize(weight, nothing, of, context);
    expect(quantized).toEqual(quantize(weight, of, { fit: minMax() }));
    expect(report).toEqual({ method: 'rtn', tokens: 0, figures: {}, notes: [] });
  });

  it('searches scales by default, which errs less than the range', async () => {
    for (const target of [of, schemes.integer(2, { groupSize: 32 }), schemes.integer(3), schemes.nf4, schemes.nvfp4]) {
      const { quantized } = await rtn().quantize(weight, nothing, target, context);
      const range = quantize(weight, target, { fit: minMax() });
      expect(squaredError(dequantize(quantized).data)).toBeLessThan(0.97 * squaredError(dequantize(range).data));
    }
  });

  it('keeps to the rule of a scheme that has one', async () => {
    for (const target of [schemes.mxfp4, schemes.bitnet158, schemes.xnor, schemes.fp16]) {
      const { quantized } = await rtn().quantize(weight, nothing, target, context);
      expect(quantized).toEqual(quantize(weight, target));
    }
  });

  it('weighs columns by the mean square of their inputs when asked', async () => {
    const x = Float32Array.from({ length: 8 * 64 }, (_, i) => random.normal() * (i % 64 < 8 ? 10 : 0.1));
    const state = meanSquare.create(64);
    await meanSquare.update(state, { x, tokens: 8, width: 64 }, referenceKernels);
    const statistics = { get: () => state, has: () => true } as unknown as Statistics;
    const method = rtn({ importance: 'diagonal' });
    expect(method.needs).toEqual([meanSquare]);
    const { quantized, report } = await method.quantize(weight, statistics, of, context);
    expect(report.tokens).toBe(8);
    const even = (await rtn().quantize(weight, nothing, of, context)).quantized;
    const own = (column: number) => state.values[column];
    expect(squaredError(dequantize(quantized).data, own)).toBeLessThan(squaredError(dequantize(even).data, own));
  });

  it('refuses an importance that it does not have', () => {
    expect(() => rtn({ importance: 'conditional' as 'none' })).toThrow(
      'importance must be one of none, diagonal, got "conditional"',
    );
  });
});
