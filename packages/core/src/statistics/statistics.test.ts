import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Statistic } from '../contracts/statistic.js';
import { referenceKernels } from '../kernels/reference.js';
import { hessian, hessianF32 } from './hessian.js';
import { absMaxStat, meanAbs, meanSquare, minMaxStat } from './per-feature.js';

const all: readonly Statistic<any>[] = [hessian, hessianF32, absMaxStat, meanAbs, meanSquare, minMaxStat];
const width = 3;
const batch = fc
  .array(fc.tuple(...Array.from({ length: width }, () => fc.integer({ min: -64, max: 64 }))), {
    minLength: 1,
    maxLength: 6,
  })
  .map((rows) => ({ x: Float32Array.from(rows.flat()), tokens: rows.length, width }));

describe.each(all.map((statistic) => [statistic.name, statistic] as const))('%s', (_name, statistic) => {
  it('merging two states equals seeing the union', () =>
    fc.assert(
      fc.asyncProperty(batch, batch, async (a, b) => {
        const [first, second, union] = [0, 1, 2].map(() => statistic.create(width));
        await statistic.update(first, a, referenceKernels);
        await statistic.update(second, b, referenceKernels);
        await statistic.update(union, a, referenceKernels);
        await statistic.update(union, b, referenceKernels);
        statistic.merge(first, second);
        expect(statistic.serialize(first)).toEqual(statistic.serialize(union));
        expect(statistic.count(first)).toBe(a.tokens + b.tokens);
      }),
    ));

  it('comes back from its tensors', () =>
    fc.assert(
      fc.asyncProperty(batch, async (a) => {
        const state = statistic.create(width);
        await statistic.update(state, a, referenceKernels);
        expect(statistic.deserialize(statistic.serialize(state))).toEqual(state);
      }),
    ));

  it('refuses another width', async () => {
    await expect(
      statistic.update(statistic.create(2), { x: new Float32Array(3), tokens: 1, width: 3 }, referenceKernels),
    ).rejects.toThrow('made for 2 features and got 3');
  });
});

describe('values', () => {
  it('are what their names say', async () => {
    const x = { x: Float32Array.of(1, -2, 3, -4, 0, 5), tokens: 2, width: 3 };
    const value = async (statistic: Statistic<any>) => {
      const state = statistic.create(3);
      await statistic.update(state, x, referenceKernels);
      return [...(state.values ?? state.sum)];
    };
    expect(await value(absMaxStat)).toEqual([4, 2, 5]);
    expect(await value(meanAbs)).toEqual([5, 2, 8]);
    expect(await value(meanSquare)).toEqual([17, 4, 34]);
    expect(await value(minMaxStat)).toEqual([-4, -2, 3, 1, 0, 5]);
    expect(await value(hessian)).toEqual([17, -2, -17, -2, 4, -6, -17, -6, 34]);
  });

  it('of magnitudes are sums over the tokens in their order, whatever their number', async () => {
    for (const tokens of [1, 3, 4, 6, 9]) {
      // 1e16 absorbs a 1 that is added to it, so another order of the additions gives another sum.
      const column = Array.from({ length: tokens }, (_, i) => (i % 3 === 1 ? -1e16 : 1));
      const state = meanAbs.create(1);
      await meanAbs.update(state, { x: Float32Array.from(column), tokens, width: 1 }, referenceKernels);
      expect(state.values[0]).toBe(column.reduce((sum, value) => sum + Math.abs(Math.fround(value)), 0));
    }
  });
});
