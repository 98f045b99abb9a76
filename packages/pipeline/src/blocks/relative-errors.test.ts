import { createRandom, referenceKernels } from '@q/core';
import { expect, it } from 'vitest';
import { relativeErrors } from './relative-errors.js';

it('are those of the definition in f64, with more inputs than go to the kernels at once', async () => {
  const random = createRandom('relative errors');
  const [rows, columns] = [3, 1100];
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  const weight = normals(rows * columns);
  const versions = [0.1, 0.01].map((share) => weight.map((x) => x + share * random.normal()));
  const x = normals(5 * columns);
  const hessian = new Float64Array(columns ** 2);
  for (let i = 0; i < columns; i++)
    for (let j = 0; j < columns; j++)
      for (let t = 0; t < x.length; t += columns) hessian[i * columns + j] += x[t + i] * x[t + j];
  /** `||X v||^2` over all rows: what the Hessian's form is. */
  const energy = (of: (at: number) => number) => {
    let sum = 0;
    for (let row = 0; row < rows; row++)
      for (let t = 0; t < x.length; t += columns) {
        let output = 0;
        for (let j = 0; j < columns; j++) output += of(row * columns + j) * x[t + j];
        sum += output ** 2;
      }
    return sum;
  };
  const found = await relativeErrors(weight, versions, rows, hessian, referenceKernels);
  for (const [index, version] of versions.entries())
    expect(found[index] / (energy((at) => weight[at] - version[at]) / energy((at) => weight[at]))).toBeCloseTo(1, 4);
});

it('are those of the values without a Hessian, and 0 of a weight of zeros', async () => {
  const weight = Float32Array.of(3, 0, 0, 4);
  const errors = await relativeErrors(weight, [weight, Float32Array.of(3, 1, 0, 2)], 2, undefined, referenceKernels);
  expect(errors).toEqual([0, 0.2]);
  const zeros = new Float32Array(4);
  expect(await relativeErrors(zeros, [zeros], 2, undefined, referenceKernels)).toEqual([0]);
});

it('takes the diagonal of a Hessian alone', async () => {
  const weight = Float32Array.of(3, 0, 0, 4);
  const version = Float32Array.of(3, 1, 0, 2);
  // Row 0 is off by 1 in column 1, row 1 by 2: 10 (1 + 4) of 2 * 9 + 10 * 16.
  const errors = await relativeErrors(weight, [version], 2, Float64Array.of(2, 10), referenceKernels);
  expect(errors[0]).toBeCloseTo(50 / 178, 6);
});
