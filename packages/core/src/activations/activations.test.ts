import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Statistic, Statistics } from '../contracts/statistic.js';
import { dequantize } from '../dequantize.js';
import { referenceKernels } from '../kernels/reference.js';
import { createRandom } from '../random.js';
import { schemes } from '../schemes/presets.js';
import { histogram, histogramQuantile } from '../statistics/histogram.js';
import { movingAverageRange } from '../statistics/moving-average-range.js';
import { tensor } from '../tensor.js';
import {
  type ActivationFit,
  staticMinMax,
  staticMovingAverage,
  staticMse,
  staticPercentile,
} from './activation-fit.js';
import { llama3Bound, quantizeActivations } from './quantize-activations.js';

const { activations } = schemes;
const random = createRandom(4);

async function collect(
  needs: readonly Statistic<any>[],
  batches: readonly Float32Array[],
  width: number,
): Promise<Statistics> {
  const states = new Map<string, unknown>();
  for (const statistic of needs) {
    const state = statistic.create(width);
    for (const x of batches) await statistic.update(state, { x, tokens: x.length / width, width }, referenceKernels);
    states.set(statistic.name, state);
  }
  return { get: (statistic) => states.get(statistic.name) as never, has: ({ name }) => states.has(name) };
}

const fitted = async (rule: ActivationFit, of = activations.int8Static, ...batches: number[][]) =>
  rule.fit(
    await collect(
      rule.needs,
      batches.map((x) => Float32Array.from(x)),
      2,
    ),
    of,
  );

describe('dynamic', () => {
  it('a scale a token: the largest magnitude on the largest code', () => {
    const x = tensor('f32', [2, 3], Float32Array.of(127, -1, 0.4, 0.254, 0.1, -0.002));
    const { codes, scales } = quantizeActivations(x, activations.int8PerToken);
    expect([...scales]).toEqual([1, Math.fround(0.002)].map((v) => expect.closeTo(v, 8)));
    expect([...codes].map((code) => code - 128)).toEqual([127, -1, 0, 127, 50, -1]);
  });

  it('integers never take the lowest code, so that int8 products have no -128', () => {
    const x = tensor(
      'f32',
      [50, 8],
      Float32Array.from({ length: 400 }, () => random.normal()),
    );
    for (const of of [activations.int8PerToken, activations.int8PerTensor]) {
      expect(Math.min(...quantizeActivations(x, of).codes)).toBeGreaterThanOrEqual(1);
    }
  });

  it('FP8 row-wise keeps the other tokens exact where tensor-wise loses them', () => {
    const x = tensor('f32', [2, 4], Float32Array.of(0.001, 0.002, -0.003, 0.004, 400, 1, 2, 3));
    const error = (of: typeof activations.fp8RowWise) => {
      const back = dequantize(quantizeActivations(x, of)).data;
      return x.data.slice(0, 4).reduce((sum, v, i) => sum + Math.abs(v - back[i]), 0);
    };
    expect(error(activations.fp8RowWise)).toBeLessThan(0.05 * 0.01);
    expect(error(activations.fp8TensorWise)).toBeGreaterThan(0.15 * 0.01);
  });

  it('Llama 3: the scale covers at most 1200, what is beyond saturates', () => {
    const x = tensor('f32', [2, 3], Float32Array.of(50_000, 10, -3, 100, 10, -3));
    const bounded = quantizeActivations(x, activations.fp8RowWise, { bound: llama3Bound });
    expect([...bounded.scales]).toEqual([Math.fround(1200 / 448), Math.fround(100 / 448)]);
    const back = dequantize(bounded).data;
    expect(back[0]).toBeCloseTo(1200, 2);
    // 10 / 2.68 = 3.73 has a step of 0.25 in E4M3; unbounded its step would be 14 times as wide.
    expect(Math.abs(back[1] - 10)).toBeLessThan((0.25 * 1200) / 448 / 2 + 1e-6);
    expect(() => quantizeActivations(x, activations.uint8PerToken, { bound: 5 })).toThrow('symmetric');
  });

  it('refuses NaN, and a static scheme without its grid', () => {
    const x = tensor('f32', [1, 2], Float32Array.of(1, Number.NaN));
    expect(() => quantizeActivations(x, activations.int8PerToken)).toThrow('element 1 is NaN');
    expect(() => quantizeActivations(x, activations.int8Static)).toThrow('needs the grid');
  });

  it('empty and zero tokens are zeros', () => {
    expect(quantizeActivations(tensor('f32', [0, 4]), activations.int8PerToken).codes).toHaveLength(0);
    expect([...dequantize(quantizeActivations(tensor('f32', [2, 2]), activations.fp8RowWise)).data]).toEqual([
      0, 0, 0, 0,
    ]);
  });
});

describe('static', () => {
  it('min-max covers all that was seen', async () => {
    const { scales } = await fitted(staticMinMax(), activations.int8Static, [1, -2, 3, 0], [0, 12.7]);
    expect(scales[0]).toBeCloseTo(0.1, 6);
    const asymmetric = await fitted(staticMinMax(), activations.uint8Static, [-1, 1], [2, 4.1]);
    expect(asymmetric.scales[0]).toBeCloseTo(0.02, 6);
    expect([...asymmetric.zeroPoints!]).toEqual([50]);
  });

  it('percentile ignores the rare outlier', async () => {
    const x = Array.from({ length: 20_000 }, () => random.normal());
    x[77] = 1000;
    const { scales } = await fitted(staticPercentile({ p: 0.999 }), activations.int8Static, x);
    // 99.9 % of a normal distribution lie below 3.09.
    expect(scales[0] * 127).toBeGreaterThan(2.9);
    expect(scales[0] * 127).toBeLessThan(3.4);
    expect(() => staticPercentile({ p: 0 })).toThrow('above 0.5');
  });

  it('MSE has a lower error than min-max on heavy tails', async () => {
    const x = Float32Array.from({ length: 4000 }, () => random.normal() ** 3);
    for (const of of [
      { ...activations.int4PerToken, granularity: { kind: 'tensor' } as const, dynamic: false },
      activations.int8Static,
    ]) {
      const error = async (rule: ActivationFit) => {
        const grid = rule.fit(await collect(rule.needs, [x], 2), of);
        const back = dequantize(quantizeActivations(tensor('f32', [2000, 2], x), of, { fitted: grid })).data;
        return x.reduce((sum, v, i) => sum + (v - back[i]) ** 2, 0);
      };
      expect(await error(staticMse())).toBeLessThan(await error(staticMinMax()));
    }
  });

  it('moving average: the formula, worked by hand', async () => {
    const grid = await fitted(
      staticMovingAverage({ momentum: 0.5 }),
      activations.uint8Static,
      [-2, 2],
      [-4, 6],
      [0, 8],
    );
    // low: -2, -3, -1.5; high: 2, 4, 6.
    expect(grid.scales[0]).toBeCloseTo(7.5 / 255, 7);
    expect(() => staticMovingAverage({ momentum: 0 })).toThrow('momentum');
  });

  it.each(
    [staticMinMax(), staticPercentile(), staticMse(), staticMovingAverage()].map((rule) => [rule.name, rule] as const),
  )('%s: nothing seen and NaN are refused; zeros give zeros', async (_name, rule) => {
    await expect(fitted(rule, activations.int8Static)).rejects.toThrow(/no values were seen/);
    await expect(fitted(rule, activations.int8Static, [1, Number.NaN])).rejects.toThrow(/NaN or infinities/);
    const grid = await fitted(rule, activations.int8Static, [0, 0]);
    const x = tensor('f32', [1, 2]);
    expect([...dequantize(quantizeActivations(x, activations.int8Static, { fitted: grid })).data]).toEqual([0, 0]);
  });
});

describe('statistics', () => {
  const batch = fc
    .array(fc.float({ min: -1000, max: 1000, noNaN: true }), { minLength: 2, maxLength: 12 })
    .map((x) => Float32Array.from(x.length % 2 ? x.slice(1) : x));

  it('histogram: merging equals the union', () =>
    fc.assert(
      fc.asyncProperty(batch, batch, async (a, b) => {
        const state = async (...batches: Float32Array[]) => (await collect([histogram], batches, 2)).get(histogram);
        const [first, second, union] = [await state(a), await state(b), await state(a, b)];
        histogram.merge(first, second);
        // Compared as text: eight thousand counts are slow to compare one by one.
        expect(String(Object.values(first))).toBe(String(Object.values(union)));
        const { counts, ...rest } = histogram.deserialize(histogram.serialize(union));
        expect(String(counts)).toBe(String(union.counts));
        expect({ ...rest, counts: union.counts }).toEqual(union);
      }),
      { numRuns: 25 },
    ));

  it('histogram: quantiles to the width of a bin', async () => {
    const x = Float32Array.from({ length: 10_000 }, () => random.normal() * 10 - 3);
    const state = (await collect([histogram], [x], 2)).get(histogram);
    const sorted = x.slice().sort();
    for (const p of [0.001, 0.1, 0.5, 0.9, 0.999]) {
      const exact = sorted[Math.floor(p * 9999)];
      expect(Math.abs(histogramQuantile(state, p) - exact)).toBeLessThan(0.05 * Math.abs(exact) + 0.05);
    }
    expect([histogramQuantile(state, 0), histogramQuantile(state, 1)]).toEqual([sorted[0], sorted[9999]]);
  });

  it('moving average: merging is seeing the batches one after the other', () =>
    fc.assert(
      fc.asyncProperty(fc.array(batch, { maxLength: 4 }), fc.array(batch, { maxLength: 4 }), async (a, b) => {
        const statistic = movingAverageRange(0.3);
        const state = async (batches: Float32Array[]) => (await collect([statistic], batches, 2)).get(statistic);
        const [first, second, both] = [await state(a), await state(b), await state([...a, ...b])];
        statistic.merge(first, second);
        expect(first.batches).toBe(both.batches);
        for (const end of [0, 1]) expect(first.average[end]).toBeCloseTo(both.average[end], 8);
        expect(statistic.deserialize(statistic.serialize(both))).toEqual(both);
      }),
    ));
});
