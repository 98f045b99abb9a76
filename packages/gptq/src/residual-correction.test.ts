import { createContext, createRandom, residualCross } from '@q/core';
import { describe, expect, it } from 'vitest';
import { correctionHelps } from './residual-correction.js';
import { retarget } from './retarget.js';

const { kernels } = createContext();
const [tokens, n, rows, ridge] = [200, 6, 4, 0.5];

/** A linear's tokens: inputs, the stream they add to, and its error; `huge` tokens have a large stream and a large error. */
async function layer(seed: string, huge: number, predictable: number) {
  const random = createRandom(seed);
  const normals = (count: number, size = 1) => Float32Array.from({ length: count }, () => size * random.normal());
  const x = normals(tokens * n);
  const link = normals(rows * n);
  const residual = normals(tokens * rows, 3);
  const error = new Float32Array(tokens * rows);
  for (let t = 0; t < tokens; t++) {
    const size = t < huge ? 1e5 : 1;
    for (let i = 0; i < rows; i++) {
      let linked = 0;
      for (let j = 0; j < n; j++) linked += link[i * n + j] * x[t * n + j];
      residual[t * rows + i] *= size;
      error[t * rows + i] = 0.1 * size * (predictable * linked + (1 - predictable) * random.normal());
    }
  }
  const state = residualCross.create(n);
  await residualCross.update(state, { x, residualError: error, residual, tokens, width: n }, kernels);
  const factor = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      for (let t = 0; t < tokens; t++) factor[i * n + j] += x[t * n + i] * x[t * n + j];
      if (i === j) factor[i * n + j] += ridge;
    }
  const damped = factor.slice();
  await kernels.cholesky({ a: factor, n, form: 'reversed-upper' });
  return { state, factor: Float32Array.from(factor), damped, x, residual, error, weight: normals(rows * n) };
}

/** Both sides of the comparison over all tokens, in f64, with D by steepest descent on its definition. */
function bruteForce({ damped, x, residual, error, weight }: Awaited<ReturnType<typeof layer>>) {
  const cross = new Float64Array(rows * n);
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < rows; i++) for (let j = 0; j < n; j++) cross[i * n + j] += error[t * rows + i] * x[t * n + j];
  // D damped = cross, by Gauss-Seidel: damped is symmetric positive definite.
  const d = new Float64Array(rows * n);
  for (let round = 0; round < 500; round++)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < n; j++) {
        let rest = cross[i * n + j];
        for (let k = 0; k < n; k++) if (k !== j) rest -= d[i * n + k] * damped[k * n + j];
        d[i * n + j] = rest / damped[j * n + j];
      }
  let [before, after] = [0, 0];
  for (let t = 0; t < tokens; t++) {
    let [size, left, was] = [0, 0, 0];
    for (let i = 0; i < rows; i++) {
      let [own, added] = [0, 0];
      for (let j = 0; j < n; j++) {
        own += weight[i * n + j] * x[t * n + j];
        added += d[i * n + j] * x[t * n + j];
      }
      size += (residual[t * rows + i] + own) ** 2;
      left += (error[t * rows + i] - added) ** 2;
      was += error[t * rows + i] ** 2;
    }
    before += was / size;
    after += left / size;
  }
  return { cross, before, after };
}

describe('correctionHelps', () => {
  it.each([
    ['tokens of one size whose error the inputs explain', 'plain', 0, 1, true],
    ['tokens of one size, half explained', 'half', 0, 0.5, true],
    ['three tokens a hundred thousand times larger than the others', 'huge', 3, 0, false],
  ] as const)('%s', async (_what, seed, huge, predictable, expected) => {
    const data = await layer(seed, huge, predictable);
    const { cross, before, after } = bruteForce(data);
    expect(after < before).toBe(expected);
    const { state, weight, factor } = data;
    const change = await retarget(cross, rows, factor, kernels);
    const correction = { weight, rows, change, state, share: 1 };
    expect(await correctionHelps(correction, kernels)).toBe(expected);
  });

  it('has nothing against a correction of which it has no sample', async () => {
    const { factor, weight, x, error } = await layer('none', 3, 0);
    const state = residualCross.create(n);
    await residualCross.update(state, { x, residualError: error, tokens, width: n }, kernels);
    const change = await retarget(state.sum, rows, factor, kernels);
    const correction = { weight, rows, change, state, share: 1 };
    expect(await correctionHelps(correction, kernels)).toBe(true);
  });
});
