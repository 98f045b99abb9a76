import { createRandom, SchemeError } from '@q/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseWithinBudget } from './choose-within-budget.js';
import type { Option } from './option.js';
import { hullOf, relaxation } from './relaxation.js';

/** Every combination, one by one. */
function bruteForce(units: readonly (readonly Option[])[], budget: number): number {
  let best = Number.POSITIVE_INFINITY;
  const visit = (index: number, cost: number, loss: number) => {
    if (cost > budget) return;
    if (index === units.length) best = Math.min(best, loss);
    else for (const option of units[index]) visit(index + 1, cost + option.cost, loss + option.loss);
  };
  visit(0, 0, 0);
  return best;
}

/** Dynamic programming over every whole budget: another exact algorithm, for sizes that brute force cannot do. */
function tableOfBudgets(units: readonly (readonly Option[])[], budget: number): number {
  let least = new Float64Array(budget + 1);
  for (const options of units) {
    const next = new Float64Array(budget + 1).fill(Number.POSITIVE_INFINITY);
    for (let left = 0; left <= budget; left++)
      for (const { cost, loss } of options)
        if (cost <= left) next[left] = Math.min(next[left], least[left - cost] + loss);
    least = next;
  }
  return least[budget];
}

const option = fc.record({ cost: fc.integer({ min: 0, max: 20 }), loss: fc.double({ min: 0, max: 1, noNaN: true }) });
const problem = fc.array(fc.array(option, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 });

describe('chooseWithinBudget', () => {
  it('finds the least loss of all combinations', () => {
    fc.assert(
      fc.property(problem, fc.integer({ min: 0, max: 80 }), (units, budget) => {
        const expected = bruteForce(units, budget);
        if (expected === Number.POSITIVE_INFINITY) {
          expect(() => chooseWithinBudget(units, budget)).toThrow(SchemeError);
          return;
        }
        const { chosen, cost, loss, lowerBound } = chooseWithinBudget(units, budget);
        expect(loss).toBeCloseTo(expected, 12);
        expect(cost).toBeLessThanOrEqual(budget);
        expect(chosen.map((taken, i) => units[i][taken].cost).reduce((a, b) => a + b, 0)).toBe(cost);
        expect(lowerBound).toBeLessThanOrEqual(expected + 1e-9);
      }),
      { numRuns: 2000 },
    );
  });

  it('agrees with dynamic programming on 224 units, and lies between the relaxation and its rounding', () => {
    const random = createRandom(7);
    const sizes = [3, 12, 33, 11];
    const units = Array.from({ length: 224 }, (_, i) =>
      [2, 3, 4, 8].map((bits) => ({
        cost: sizes[i % 4] * bits,
        loss: Math.exp(2 * random.normal()) * 4 ** -bits,
      })),
    );
    const budget = 224 * 15 * 3.3;
    const { loss, lowerBound } = chooseWithinBudget(units, budget);
    expect(loss).toBeCloseTo(tableOfBudgets(units, Math.floor(budget)), 9);
    expect(lowerBound).toBeLessThanOrEqual(loss);
    expect(relaxation(units, units.map(hullOf), budget).loss).toBeGreaterThanOrEqual(loss);
  });

  it('takes options off the convex hull where they fill the budget better than any rounding', () => {
    const units = [
      [
        { cost: 0, loss: 10 },
        { cost: 3, loss: 6 },
        { cost: 4, loss: 0 },
      ],
    ];
    expect(chooseWithinBudget(units, 3).chosen).toEqual([1]);
    expect(hullOf(units[0]).steps.map(({ option }) => option)).toEqual([2]);
  });

  it('prefers the cheaper of equal losses, then the earlier option', () => {
    expect(
      chooseWithinBudget(
        [
          [
            { cost: 2, loss: 1 },
            { cost: 1, loss: 1 },
            { cost: 1, loss: 1 },
          ],
        ],
        5,
      ).chosen,
    ).toEqual([1]);
  });

  it('refuses what cannot be answered, in words', () => {
    expect(() => chooseWithinBudget([[{ cost: 5, loss: 0 }], [{ cost: 6, loss: 0 }]], 10)).toThrow('together cost 11');
    expect(() => chooseWithinBudget([[{ cost: 1, loss: Number.NaN }]], 10)).toThrow(
      'unit 0, option 0: its loss is NaN',
    );
    expect(() => chooseWithinBudget([[{ cost: -1, loss: 0 }]], 10)).toThrow('its cost is -1');
    expect(() => chooseWithinBudget([[]], 10)).toThrow('unit 0 has no option');
    expect(() => chooseWithinBudget([], Number.NaN)).toThrow('budget is NaN');
  });
});
