import { expect, it } from 'vitest';
import { refusalText } from './refusal-text.js';

const wide = { reason: 'groupSize 32 is larger than its 4 input features', advice: 'Choose another scheme' };
const odd = { reason: 'in_features 90 is not a multiple of 8', advice: 'Use --layout plain' };

it('names one module', () => {
  expect(refusalText(new Map([['a.0.b', wide]]))).toBe(`a.0.b: ${wide.reason}. ${wide.advice}`);
});

it('names all modules of each reason, those that differ only in numbers by one pattern, and each advice once', () => {
  const refusals = new Map([
    ...[0, 1, 2].map((block) => [`a.${block}.b`, wide] as const),
    ['c', odd],
    ['d', wide],
    ['e.0', odd],
  ]);
  expect(refusalText(refusals)).toBe(
    `a.*.b (3 modules) and d: ${wide.reason}; c and e.0: ${odd.reason}. ${wide.advice}. ${odd.advice}`,
  );
});

it('counts modules after the first eight names', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i0', 'i1', 'j'];
  expect(refusalText(new Map(names.map((name) => [name, wide])))).toBe(
    `a, b, c, d, e, f, g, h and 3 more modules: ${wide.reason}. ${wide.advice}`,
  );
});
