import { expect, it } from 'vitest';
import { ownForwardPays, ownTrainingPays } from './own-engine-pays.js';

const [narrow, wide] = [{ hiddenSize: 256 }, { hiddenSize: 1024 }];

it.each([
  ['wasm', wide, true, true],
  ['node', narrow, true, false],
  ['cpu', narrow, false, false],
  ['auto', narrow, true, true],
  ['auto', wide, true, false],
  ['auto', wide, false, true],
] as const)('%s, %o, native engine %s: %s', (backend, model, native, own) => {
  expect(ownForwardPays(backend, model, native)).toBe(own);
  expect(ownTrainingPays(backend, model, native, true)).toBe(own);
});

it('leaves the products of a vocabulary to the native engine, where it is and no other was asked for', () => {
  expect(ownTrainingPays('auto', narrow, true, false)).toBe(false);
  expect(ownTrainingPays('auto', narrow, false, false)).toBe(true);
  expect(ownTrainingPays('wasm', narrow, true, false)).toBe(true);
});
