import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { growthPower } from './growth.js';

describe('growthPower', () => {
  it('is the exponent of a power law', () => {
    const positive = fc.double({ min: 0.01, max: 100, noNaN: true });
    fc.assert(
      fc.property(positive, fc.double({ min: -3, max: 4, noNaN: true }), (c, power) => {
        const sizes = [256, 512, 1024, 2048];
        const values = sizes.map((n) => c * n ** power);
        expect(growthPower(sizes, values)).toBeCloseTo(power, 9);
      }),
    );
  });

  it('is the least-squares slope where points do not lie on a line', () => {
    // In units of the factor ten: x = 0, 1, 2 and y = 0, 3, 4; slope 4 / 2.
    expect(growthPower([1, 10, 100], [1, 1e3, 1e4])).toBeCloseTo(2, 12);
  });

  it('is not a number for one size', () => {
    expect(growthPower([2, 2], [1, 3])).toBeNaN();
  });
});
