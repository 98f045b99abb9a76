import type { LinearDescription, ModelDescription } from '@q/core';
import { expect, it } from 'vitest';
import { describeRule, ruleTest } from './recipe.js';

const linear = (module: string, role: 'query' | 'up'): LinearDescription => ({
  ...{ module, roles: [role], inFeatures: 8, outFeatures: 8, transposed: false, bias: false },
});
const blocks = [0, 1, 2].map((index) => ({ linears: [linear(`${index}.q`, 'query'), linear(`${index}.up`, 'up')] }));
const model = { blocks } as unknown as ModelDescription;
const matched = (rule: Parameters<typeof ruleTest>[0]) =>
  blocks.flatMap(({ linears }) => linears.filter(ruleTest(rule, model)).map(({ module }) => module));

it('a rule applies by name, role and block, and by all of them together', () => {
  expect(matched({ match: '*.q' })).toEqual(['0.q', '1.q', '2.q']);
  expect(matched({ match: '*', only: ['up'] })).toEqual(['0.up', '1.up', '2.up']);
  expect(matched({ match: '*', blocks: [0, -1] })).toEqual(['0.q', '0.up', '2.q', '2.up']);
  expect(matched({ match: '*', blocks: [1, -2], only: ['query'] })).toEqual(['1.q']);
});

it('a rule of blocks names a block that is not there, or a model without known blocks', () => {
  expect(() => matched({ match: '*', blocks: [3] })).toThrow('names block 3, and the model has 3 blocks');
  expect(() => ruleTest({ match: '*', blocks: [0] }, undefined)).toThrow('the architecture of this model is not known');
});

it('a rule is described by its pattern, roles and blocks', () => {
  expect(describeRule({ match: '*.q' }, 0)).toBe('rule 1 ("*.q")');
  expect(describeRule({ match: '*', blocks: [0, -1] }, 1)).toBe('rule 2 (blocks 0, -1)');
  expect(describeRule({ match: '*.w', only: ['up'] }, 2)).toBe('rule 3 ("*.w", roles up)');
});
