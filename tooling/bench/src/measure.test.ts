import { describe, expect, it } from 'vitest';
import type { Comparison } from './benchmark.js';
import { measure, quantile } from './measure.js';
import { onlyMatching } from './only-matching.js';
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

  it('compares with the fastest of the peers, wherever it stands', async () => {
    const clock = { now: 0 };
    const plain = comparisonOn(clock, [40, 20, 5]);
    const comparison = {
      ...plain,
      contenders: plain.contenders.map((contender, i) => ({
        ...contender,
        peer: i < 2,
        peakBytes: [8e8, 6e8, 3e8][i],
      })),
      atLeast: { c2: 5 },
      atMostMemory: { c2: 1 / 3 },
    };
    const rows = await measure(comparison, { rounds: 3, clock: () => clock.now });
    expect(rows.map(({ ratio }) => ratio)).toEqual([0.5, 1, 4]);
    expect(rows.map(({ peakBytes }) => peakBytes)).toEqual([8e8, 6e8, 3e8]);
    expect(shortfalls(comparison, rows)).toEqual([
      'sums: c2 has 4.000 of the speed of c1, at least 5 was expected',
      'sums: c2 has 0.500 of the memory of the leanest peer, at most 0.333 was expected',
    ]);
    const table = formatComparison(comparison, rows).split('\n');
    expect(table[2]).not.toContain('x1');
    expect(table[3]).toContain('300 MB (0.50 of the leanest, ABOVE 0.333)  x4.00  BELOW 5');
  });

  it('gives the power of a growth in place of ratios', async () => {
    const clock = { now: 0 };
    const growth = { quantity: 'size', sizes: [1, 2, 4] };
    const comparison = { ...comparisonOn(clock, [3, 24, 192]), growth };
    const rows = await measure(comparison, { rounds: 3, clock: () => clock.now, sampleMilliseconds: 1 });
    const table = formatComparison(comparison, rows);
    expect(table).toContain('time grows with the power 3.00 of the size');
    expect(table).not.toContain('x0.');
  });

  it('leaves contenders that a pattern finds, with their sizes', () => {
    const comparison = { ...comparisonOn({ now: 0 }, [1, 1, 1]), growth: { quantity: 'size', sizes: [1, 2, 3] } };
    const { contenders, growth } = onlyMatching(comparison, /[02]/);
    expect(contenders.map(({ name }) => name)).toEqual(['c0', 'c2']);
    expect(growth?.sizes).toEqual([1, 3]);
  });

  it('interpolates quantiles', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([7], 0.75)).toBe(7);
  });
});
