import { gptqLayout, plainLayout, type QuantizedLayout } from '@q/checkpoint';
import { int4, type LinearDescription, type LinearRole, perGroup, scheme } from '@q/core';
import { rtn } from '@q/rtn';
import { expect, it } from 'vitest';
import { refuseModule } from './refuse-module.js';

const refuse = (
  layout: QuantizedLayout,
  size: number,
  of: Partial<LinearDescription>,
  only?: readonly LinearRole[],
) => {
  const linear = { module: 'a', inFeatures: 96, outFeatures: 96, transposed: false, bias: false, ...of };
  const planned = { linear, quantizer: rtn(), scheme: scheme({ format: int4, granularity: perGroup(size) }) };
  return refuseModule(planned, { layout, rules: [], seed: 0 }, { match: '*', only });
};

it('advises the plain layout when another layout cannot hold the shape', () => {
  expect(refuse(gptqLayout(), 32, { inFeatures: 90 })).toEqual({
    reason: 'in_features 90 is not a multiple of 8, which 4-bit GPTQ words need',
    advice: 'Choose another scheme or --layout plain, or keep such modules with --keep or a rule',
  });
  expect(refuse(plainLayout(), 32, { inFeatures: 90 })).toBeUndefined();
});

it('advises another scheme when the group is wider than the matrix', () => {
  expect(refuse(gptqLayout(), 32, { inFeatures: 4 })).toEqual({
    reason: 'groupSize 32 is larger than its 4 input features',
    advice: 'Choose another scheme, or keep such modules with --keep or a rule',
  });
});

it('advises to leave out the option that named a table', () => {
  const advice = (only: readonly LinearRole[], roles: readonly LinearRole[]) =>
    refuse(gptqLayout(), 32, { roles }, only)?.advice;
  const embeddings = 'Use --layout plain, or leave out --embeddings';
  expect(advice(['embedding'], ['embedding'])).toBe(embeddings);
  expect(advice(['embedding'], ['embedding', 'head'])).toBe(embeddings);
  expect(advice(['position'], ['position'])).toBe(embeddings);
  expect(advice(['head'], ['embedding', 'head'])).toBe('Use --layout plain, or leave out --head');
  expect(refuse(plainLayout(), 32, { roles: ['embedding'] }, ['embedding'])).toBeUndefined();
});
