import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { roundHalfAway, roundHalfEven } from './round.js';

describe('roundHalfEven', () => {
  it.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, -0],
    [-1.5, -2],
    [-2.5, -2],
    [0.49999999999999994, 0],
    [2 ** 51 + 0.5, 2 ** 51],
    [2 ** 51 + 1.5, 2 ** 51 + 2],
    [-0.2, -0],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
  ])('%d becomes %d', (x, expected) => expect(roundHalfEven(x)).toBe(expected));

  it('is never further than half from its argument, and even on ties', () => {
    fc.assert(
      fc.property(fc.double({ min: -1e9, max: 1e9, noNaN: true }), (x) => {
        const rounded = roundHalfEven(x);
        expect(Number.isInteger(rounded)).toBe(true);
        expect(Math.abs(rounded - x)).toBeLessThanOrEqual(0.5);
        if (Math.abs(rounded - x) === 0.5) expect(Math.abs(rounded % 2)).toBe(0);
      }),
    );
  });
});

describe('roundHalfAway', () => {
  it.each([
    [0.5, 1],
    [-0.5, -1],
    [2.5, 3],
    [-2.4, -2],
  ])('%d becomes %d', (x, expected) => expect(roundHalfAway(x)).toBe(expected));
});
