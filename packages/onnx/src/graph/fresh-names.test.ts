import { expect, it } from 'vitest';
import { Graph } from './graph.js';

it('gives no name twice, also where a counted name is the base of another', () => {
  const graph = new Graph('names');
  const bases = ['constant_i1', 'constant_i1', 'constant_i1_1', 'constant_i1_1', 'constant_i1', 'constant_i1_2'];
  const names = bases.map((base) => graph.fresh(base));
  expect(names[0]).toBe('constant_i1');
  expect(new Set(names).size).toBe(bases.length);
});
