import { expect, it } from 'vitest';
import { ownEnginePays } from './own-engine-pays.js';

const [narrow, wide] = [{ hiddenSize: 256 }, { hiddenSize: 1024 }];

it.each([
  ['wasm', wide, true, true],
  ['node', narrow, true, false],
  ['cpu', narrow, false, false],
  ['auto', narrow, true, true],
  ['auto', wide, true, false],
  ['auto', wide, false, true],
] as const)('%s, %o, native engine %s: %s', (backend, model, native, own) => {
  expect(ownEnginePays(backend, model, native)).toBe(own);
});
