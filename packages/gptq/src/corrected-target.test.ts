import { createContext, createRandom, hessian, inputShift, residualCross } from '@q/core';
import { describe, expect, it } from 'vitest';
import { correctedTarget } from './corrected-target.js';
import { factorize } from './factorize.js';
import { correctionOf } from './linear-inputs.js';

const { kernels } = createContext();
const permutation = Int32Array.of(4, 2, 0, 5, 1, 3);
const [tokens, n] = [400, 6];

/** Statistics of a linear whose inputs and stream are off, with and without the outputs of the unquantized model. */
async function layer(rows: number, outputs: boolean, huge = 0) {
  const random = createRandom(`corrected target ${rows}`);
  const normals = (count: number, size = 1) => Float32Array.from({ length: count }, () => size * random.normal());
  const weight = normals(rows * n);
  const reference = normals(tokens * n);
  const x = reference.map((value, i) => value + 0.2 * reference[(i + 1) % reference.length] + 0.05 * random.normal());
  const residual = normals(tokens * rows, 3);
  const residualError = normals(tokens * rows, 0.1);
  const output = new Float32Array(tokens * rows);
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < rows; i++) {
      if (t < huge) residual[t * rows + i] *= 1e5;
      if (t < huge) residualError[t * rows + i] *= 1e5;
      for (let j = 0; j < n; j++) {
        output[t * rows + i] += weight[i * n + j] * reference[t * n + j];
        residualError[t * rows + i] += 0.1 * weight[((i + 1) % rows) * n + j] * x[t * n + j];
      }
    }
  // The quantized model's stream and the wanted output add up to what the unquantized model's gives.
  const batch = {
    ...{ x, reference, tokens, width: n },
    ...(outputs
      ? {
          wanted: output.map((value, i) => value + residualError[i]),
          residual: residual.map((value, i) => value - residualError[i]),
        }
      : { residual, residualError }),
  };
  const [own, shift, stream] = [hessian.create(n), inputShift.create(n), residualCross.create(n)];
  await hessian.update(own, batch, kernels);
  await inputShift.update(shift, batch, kernels);
  await residualCross.update(stream, batch, kernels);
  const factored = await factorize(own.sum, permutation, 0.01, kernels, { damped: false });
  const correction = correctionOf(shift, own.sum, permutation, factored.factor);
  const result = await correctedTarget({ weight, rows, correction, permutation, residual: stream, share: 1 }, kernels);
  const ridge = (0.01 * Array.from({ length: n }, (_, j) => own.sum[j * (n + 1)]).reduce((a, b) => a + b)) / n;
  return { ...{ weight, x, output, residualError, result, ridge } };
}

/** `min ||W' x - (y + e)||^2 + ridge ||W' - W||^2` over the tokens, in f64, by Gauss-Seidel. */
function regression({ weight, x, output, residualError, ridge }: Awaited<ReturnType<typeof layer>>, rows: number) {
  const gram = new Float64Array(n * n);
  const right = Float64Array.from(weight, (value) => ridge * value);
  for (let t = 0; t < tokens; t++)
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < n; k++) gram[j * n + k] += x[t * n + j] * x[t * n + k];
      for (let i = 0; i < rows; i++)
        right[i * n + j] += (output[t * rows + i] + residualError[t * rows + i]) * x[t * n + j];
    }
  const found = Float64Array.from(weight);
  for (let round = 0; round < 500; round++)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < n; j++) {
        let rest = right[i * n + j];
        for (let k = 0; k < n; k++) if (k !== j) rest -= found[i * n + k] * gram[k * n + j];
        found[i * n + j] = rest / (gram[j * n + j] + ridge);
      }
  return found;
}

describe.each([4, 9])('correctedTarget of %i rows and 6 columns', (rows) => {
  it.each([true, false])('solves the ridge regression on its definition, outputs given: %s', async (outputs) => {
    const data = await layer(rows, outputs);
    expect(data.result.leftOut).toBe(false);
    const expected = regression(data, rows);
    for (let i = 0; i < expected.length; i++) expect(data.result.target[i]).toBeCloseTo(expected[i], 4);
  });

  it.each([true, false])(
    'leaves a correction out that serves a few huge tokens alone, outputs given: %s',
    async (outputs) => {
      const { result, weight } = await layer(rows, outputs, 3);
      expect(result.leftOut).toBe(true);
      const off = Math.max(...result.target.map((value, i) => Math.abs(value - weight[i])));
      expect(off).toBeLessThan(outputs ? 1e-12 : 2);
    },
  );
});
