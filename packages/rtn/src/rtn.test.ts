import {
  countTokens,
  createContext,
  createRandom,
  dequantize,
  int4,
  meanSquare,
  minMax,
  mseSearch,
  perBlock,
  perGroup,
  perTensor,
  quantize,
  referenceKernels,
  type Statistics,
  scheme,
  schemes,
  tensor,
  tokenFrequencies,
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

describe('tables of embeddings', () => {
  const rows = Float32Array.from({ length: 16 }, (_, row) => (row === 3 ? 200 : 1));
  const counted: Statistics = { get: () => rows as never, has: ({ name }) => name === tokenFrequencies.name };
  const table = tensor(
    'f32',
    weight.shape,
    weight.data.map((x, i) => (Math.floor(i / 64) === 3 ? 0.2 * x : x)),
  );
  const weighted = (values: Float32Array) =>
    table.data.reduce((sum, x, i) => sum + (rows[Math.floor(i / 64)] as number) * (x - (values[i] as number)) ** 2, 0);

  it('a scale that serves many rows follows those that the text looks up', async () => {
    for (const each of [
      schemes.int8TensorWise,
      schemes.fp8BlockWise,
      scheme({ format: uint4, granularity: perBlock(8, 32) }),
    ]) {
      const [seen, unseen] = await Promise.all(
        [counted, nothing].map((known) => rtn({ fit: mseSearch({ norm: 2 }) }).quantize(table, known, each, context)),
      );
      expect(weighted(dequantize(seen!.quantized).data)).toBeLessThanOrEqual(
        weighted(dequantize(unseen!.quantized).data),
      );
    }
    const coarse = scheme({ format: int4, granularity: perTensor });
    const [seen, unseen] = await Promise.all(
      [counted, nothing].map((known) => rtn({ fit: mseSearch({ norm: 2 }) }).quantize(table, known, coarse, context)),
    );
    expect(weighted(dequantize(seen!.quantized).data)).toBeLessThan(0.8 * weighted(dequantize(unseen!.quantized).data));
  });

  it('a scale of one row is the same with any weight of it', async () => {
    for (const each of [schemes.integer(4, { groupSize: 32 }), schemes.int8, schemes.mxfp4]) {
      const [seen, unseen] = await Promise.all(
        [counted, nothing].map((known) => rtn().quantize(table, known, each, context)),
      );
      expect(seen!.quantized).toEqual(unseen!.quantized);
    }
  });

  it('tokens are counted from ids, one more than they are there', () => {
    const state = tokenFrequencies.create(4);
    countTokens(state, Int32Array.of(1, 1, 3, 9, -1));
    expect([...state]).toEqual([1, 3, 1, 2]);
    tokenFrequencies.merge(state, state.slice());
    expect([...state]).toEqual([1, 5, 1, 3]);
    expect(tokenFrequencies.count(state)).toBe(6);
  });
});
