import { expect, it } from 'vitest';
import type { Comparison } from './benchmark.js';
import { growthPlot } from './growth-plot.js';

const line = (title: string, quantity: string, sizes: readonly number[], milliseconds: readonly number[]) => {
  const comparison: Comparison = { title, work: 1, unit: '', contenders: [], growth: { quantity, sizes } };
  const rows = milliseconds.map((ms, i) => ({
    ...{ name: String(sizes[i]), milliseconds: ms, spread: 0, rate: 1, ratio: 1, repeats: 1 },
  }));
  return { ...comparison, rows };
};

it('draws a panel for each quantity, with the power of every line', () => {
  const svg = growthPlot([
    line('A & B', 'columns', [1, 2, 4], [1, 8, 64]),
    line('C', 'columns', [1, 2, 4], [1, 4, 16]),
    line('D', 'threads', [1], [5]),
    { title: 'no growth', work: 1, unit: '', contenders: [], rows: [] },
  ]);
  expect(svg.match(/<svg x=/g)).toHaveLength(2);
  expect(svg).toContain('A &amp; B: power 3.00');
  expect(svg).toContain('C: power 2.00');
  expect(svg).toContain('>D<');
  // Seven points of three lines, and their names.
  expect(svg.match(/<circle/g)).toHaveLength(10);
  expect(svg).not.toContain('NaN');
});
