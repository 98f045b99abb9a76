import { createRandom, ShapeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { rankCorrelation, spearman } from './rank-correlation.js';

describe('rank correlation', () => {
  it('has the values of scipy.stats.spearmanr, ties included', () => {
    // scipy 1.x: spearmanr([1,2,3,4,5],[5,6,7,8,7]) and with ties on both sides.
    expect(spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7])).toBeCloseTo(0.8207826816681233, 12);
    expect(spearman([1, 1, 2, 3, 3, 4], [2, 1, 1, 5, 4, 5])).toBeCloseTo(0.818181818181818, 12);
    expect(spearman([3, 1, 2], [1, 3, 2])).toBeCloseTo(-1, 12);
  });

  it('is not defined for two pairs, nor for a side of one value', () => {
    expect(spearman([1, 2], [1, 2])).toBeUndefined();
    expect(spearman([1, 1, 1], [1, 2, 3])).toBeUndefined();
    expect(rankCorrelation([1, 1, 1], [1, 2, 3])).toEqual({ pairs: 3 });
    expect(() => spearman([1, 2, 3], [1, 2])).toThrow(ShapeError);
  });

  it('has an interval that holds the true value in about 95 of 100 samples', () => {
    const random = createRandom('coverage');
    // Pairs of a normal distribution of correlation r have the rank correlation 6/pi asin(r/2).
    const r = 0.6;
    const truth = (6 / Math.PI) * Math.asin(r / 2);
    let covered = 0;
    for (let trial = 0; trial < 30; trial++) {
      const a = Array.from({ length: 40 }, () => random.normal());
      const b = a.map((x) => r * x + Math.sqrt(1 - r * r) * random.normal());
      const { interval } = rankCorrelation(a, b, trial);
      if (interval && interval[0] <= truth && truth <= interval[1]) covered++;
    }
    expect(covered).toBeGreaterThan(24);
  });

  it('draws the same interval from the same seed', () => {
    const a = [1, 5, 2, 8, 3, 9, 4];
    const b = [2, 4, 1, 9, 5, 7, 3];
    expect(rankCorrelation(a, b, 1)).toEqual(rankCorrelation(a, b, 1));
  });
});
