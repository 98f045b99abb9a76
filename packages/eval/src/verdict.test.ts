import { createRandom } from '@q/core';
import { describe, expect, it } from 'vitest';
import { judgeDivergence } from './verdict.js';

describe('judgeDivergence', () => {
  it('names the levels, and counts what is not a number as wrong', () => {
    const levels = [0, 0.009, 0.01, 0.04, 0.06, 0.19, 0.2, 0.475, Number.NaN].map((kl) => judgeDivergence(kl).level);
    expect(levels).toEqual(['same', 'same', 'close', 'close', 'changed', 'changed', 'wrong', 'wrong', 'wrong']);
    expect(judgeDivergence(0.475).words).toContain('fluent but wrong');
  });

  it('states a bound that sampled tokens keep', () => {
    const random = createRandom('verdict');
    const draw = () => {
      const all = Array.from({ length: 6 }, () => Math.exp(2 * random.normal()));
      const sum = all.reduce((a, b) => a + b);
      return all.map((value) => value / sum);
    };
    for (let round = 0; round < 200; round++) {
      const [p, q] = [draw(), draw()];
      const kl = p.reduce((sum, value, i) => sum + value * Math.log(value / q[i]), 0);
      const differing = p.reduce((sum, value, i) => sum + Math.abs(value - q[i]), 0) / 2;
      const stated = Number(/at most ([\d.]+) %/.exec(judgeDivergence(kl).words)?.[1]);
      expect(100 * differing).toBeLessThanOrEqual(stated + 0.51);
    }
  });
});
