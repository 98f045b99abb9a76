import { describe, expect, it } from 'vitest';
import type { Comparison } from './benchmark.js';
import { measure, quantile } from './measure.js';
import { formatComparison, shortfalls } from './table.js';

/** A clock that only the contenders move; it slows down by half in the second part of the run. */
function comparisonOn(clock: { now: number }, milliseconds: readonly number[]): Comparison & { order: number[] } {
  const order: number[] = [];
  return {
    title: 'sums',
    work: 1000,
    unit: 'elements',
    order,
    contenders: milliseconds.map((took, i) => ({
      name: `c${i}`,
      run() {
        order.push(i);
        clock.now += took * (order.length > 40 ? 2 : 1);
      },
    })),
    atLeast: { c1: 0.3 },
  };
}

describe('measure', () => {
  it('takes ratios within a round, so that a slower second half changes none', async () => {
    const clock = { now: 0 };
    const comparison = comparisonOn(clock, [10, 40]);
    const rows = await measure(comparison, { rounds: 21, clock: () => clock.now, sampleMilliseconds: 1 });
    expect(rows.map(({ ratio }) => ratio)).toEqual([1, 0.25]);
    // 4 runs of warm-up, then 36 quick and 6 slow ones: the median is quick.
    expect(rows[0].milliseconds).toBe(10);
    expect(rows[0].rate).toBe(100_000);
  });

  it('alternates the order and repeats short runs', async () => {
    const clock = { now: 0 };
    const comparison = comparisonOn(clock, [1, 1]);
    const rows = await measure(comparison, { rounds: 2, warmUps: 1, clock: () => clock.now, sampleMilliseconds: 3 });
    expect(rows[0].repeats).toBe(3);
    expect(comparison.order).toEqual([0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0]);
  });

  it('waits for contenders that are asynchronous', async () => {
    let running = 0;
    const run = async () => {
      expect(++running).toBe(1);
      await Promise.resolve();
      running--;
    };
    await measure(
      {
        title: '',
        work: 1,
        unit: '',
        contenders: [
          { name: 'a', run },
          { name: 'b', run },
        ],
      },
      { rounds: 2, sampleMilliseconds: 0 },
    );
    expect(running).toBe(0);
  });

  it('says what is below its least speed', async () => {
    const clock = { now: 0 };
    const comparison = comparisonOn(clock, [10, 40]);
    const rows = await measure(comparison, { rounds: 3, clock: () => clock.now });
    expect(shortfalls(comparison, rows)).toEqual(['sums: c1 has 0.250 of the speed of c0, at least 0.3 was expected']);
    expect(formatComparison(comparison, rows)).toContain('BELOW 0.3');
  });

  it('interpolates quantiles', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([7], 0.75)).toBe(7);
  });
});
