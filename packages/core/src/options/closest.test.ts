import fc from 'fast-check';
import { expect, it } from 'vitest';
import { closest } from './closest.js';

it('finds a slip and nothing far away', () => {
  expect(closest('gtpq', ['gptq', 'rtn'])).toBe('gptq');
  expect(closest('GPTQ', ['gptq', 'rtn'])).toBe('gptq');
  expect(closest('xyzzy', ['gptq', 'rtn'])).toBeUndefined();
  expect(closest('x', [])).toBeUndefined();
});

/** By its definition, without a table. */
function distance(a: string, b: string): number {
  if (a === '' || b === '') return a.length + b.length;
  const same = a[0] === b[0] ? 0 : 1;
  return Math.min(distance(a.slice(1), b.slice(1)) + same, distance(a.slice(1), b) + 1, distance(a, b.slice(1)) + 1);
}

it('takes the first of the nearest, of at most two edits or a third of the letters', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 5 });
  fc.assert(
    fc.property(word, fc.array(word, { maxLength: 4 }), (typed, known) => {
      const distances = known.map((each) => distance(typed, each));
      const least = Math.min(...distances);
      expect(closest(typed, known)).toBe(least <= 2 ? known[distances.indexOf(least)] : undefined);
    }),
    { numRuns: 60 },
  );
});

it('looks at 64 letters of a word, however long it is', () => {
  const known = ['refineRounds', 'a'.repeat(64)];
  const long = 'a'.repeat(5_000_000);
  const started = process.cpuUsage();
  expect(closest(long, known)).toBe('a'.repeat(64));
  expect(closest(`refineRound${'x'.repeat(5_000_000)}`, known)).toBeUndefined();
  const { user, system } = process.cpuUsage(started);
  // One table of 5,000,000 times 64 takes 20 s.
  expect(user + system).toBeLessThan(1_000_000);
});
