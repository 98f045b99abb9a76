import { describe, expect, it } from 'vitest';
import { createRandom } from './random.js';

describe('createRandom', () => {
  it('gives the same numbers for a seed, and others for a fork', () => {
    const draw = (seed: number | string, label?: string) => {
      const random = label ? createRandom(seed).fork(label) : createRandom(seed);
      return Array.from({ length: 5 }, () => random.uniform());
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    expect(draw(1, 'a')).not.toEqual(draw(1, 'b'));
    const used = createRandom(1);
    used.uniform();
    expect(used.fork('a').uniform()).toBe(createRandom(1).fork('a').uniform());
  });

  it('has the moments of the uniform and the normal distribution', () => {
    const random = createRandom('moments');
    const n = 200_000;
    let [sum, square, fourth, uniform] = [0, 0, 0, 0];
    for (let i = 0; i < n; i++) {
      const x = random.normal();
      sum += x;
      square += x * x;
      fourth += x ** 4;
      uniform += random.uniform();
    }
    expect(sum / n).toBeCloseTo(0, 2);
    expect(square / n).toBeCloseTo(1, 1);
    expect(fourth / n).toBeCloseTo(3, 0);
    expect(uniform / n).toBeCloseTo(0.5, 2);
    const counts = new Array(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[random.integer(7)]++;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });
});
