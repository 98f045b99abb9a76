import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchesWildcard } from './wildcard.js';

describe('matchesWildcard', () => {
  it('agrees with the expression that it stands for', () => {
    const letters = (alphabet: readonly string[]) => fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 10 });
    fc.assert(
      fc.property(letters(['a', 'b', '.', '*', '*']), letters(['a', 'b', '.']), (pattern, name) => {
        const expression = new RegExp(`^${pattern.replaceAll('.', '\\.').replace(/\*+/g, '.*')}$`);
        expect(matchesWildcard(pattern, name)).toBe(expression.test(name));
      }),
      { numRuns: 5000 },
    );
  });

  it('takes no time that grows with the stars', () => {
    const started = process.cpuUsage();
    expect(matchesWildcard(`${'a*'.repeat(2000)}b`, 'a'.repeat(20_000))).toBe(false);
    expect(process.cpuUsage(started).user / 1e6).toBeLessThan(1);
  });
});
