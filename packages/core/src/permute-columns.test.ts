import { expect, it } from 'vitest';
import { permuteColumns, restoreColumns } from './permute-columns.js';

it('takes columns from where the permutation says, in each row, and puts them back', () => {
  const x = Float32Array.of(1, 2, 3, 4, 5, 6);
  const permutation = Int32Array.of(2, 0, 1);
  expect(permuteColumns(x, 2, permutation)).toEqual(Float32Array.of(3, 1, 2, 6, 4, 5));
  expect(restoreColumns(Uint8Array.of(3, 1, 2, 6, 4, 5), 2, permutation)).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6));
});
