import { createContext, createRandom, f32Scale, SchemeError, scheme, uint3 } from '@q/core';
import { describe, expect, it } from 'vitest';
import { asymmetricSolve } from './asymmetric.js';
import { gptq } from './gptq.js';

const { kernels } = createContext();
const random = createRandom('asymmetric');
const [rows, n, tokens] = [5, 10, 40];
type Matrix = number[][];
const matrix = (height: number, width: number, value: (i: number, j: number) => number): Matrix =>
  Array.from({ length: height }, (_, i) => Array.from({ length: width }, (_, j) => value(i, j)));
const normal = (height: number, width: number) => matrix(height, width, () => random.normal());
const times = (a: Matrix, b: Matrix) =>
  matrix(a.length, b[0].length, (i, j) => a[i].reduce((s, x, k) => s + x * b[k][j], 0));
const flip = (a: Matrix) => matrix(a[0].length, a.length, (i, j) => a[j][i]);

/** Gauss-Jordan, f64. */
function inverse(a: Matrix): Matrix {
  const left = a.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let p = 0; p < left.length; p++) {
    const pivot = left[p][p];
    left[p] = left[p].map((x) => x / pivot);
    for (let i = 0; i < left.length; i++)
      if (i !== p) {
        const factor = left[i][p];
        left[i] = left[i].map((x, j) => x - factor * left[p][j]);
      }
  }
  return left.map((row) => row.slice(a.length));
}

/** L of `a = L L^T`. */
function cholesky(a: Matrix): Matrix {
  const l = matrix(a.length, a.length, () => 0);
  for (let i = 0; i < a.length; i++)
    for (let j = 0; j <= i; j++) {
      let sum = a[i][j];
      for (let k = 0; k < j; k++) sum -= l[i][k] * l[j][k];
      l[i][j] = i === j ? Math.sqrt(sum) : sum / l[j][j];
    }
  return l;
}

const reference = normal(n, tokens);
const seen = matrix(n, tokens, (i, t) => 0.9 * reference[i][t] + 0.2 * random.normal());
const h = times(seen, flip(seen));
const difference = matrix(n, tokens, (i, t) => reference[i][t] - seen[i][t]);
const shift = times(difference, flip(seen));
const weight = normal(rows, n);
const scale = 0.5;
const zero = 4;

describe('asymmetricSolve', () => {
  it.each([0, 0.25, 1])('alpha %d: the codes of the authors’ sweep with an explicit inverse in f64', async (alpha) => {
    const u = flip(cholesky(inverse(h)));
    const upper = times(shift, flip(u)).map((row, i) => row.map((x, j) => (j > i ? alpha * x : 0)));
    const p = times(upper, u);
    const expected = weight.map((row) => {
      const w = [...row];
      return w.map((_, i) => {
        const q = Math.min(7, Math.max(0, Math.round(w[i] / scale) + zero));
        const error = (w[i] - (q - zero) * scale) / u[i][i];
        const kept = w[i];
        for (let j = i + 1; j < n; j++) w[j] += kept * p[i][j] - error * u[i][j];
        return q;
      });
    });
    // R of H = R R^T is the inverse of U.
    const factor = Float32Array.from(inverse(u).flat());
    const solution = await asymmetricSolve(
      {
        rows,
        columns: n,
        weight: Float32Array.from(weight.flat()),
        factor,
        scheme: scheme({ format: uint3, zeroPoint: 'integer', scaleStorage: f32Scale }),
        grids: { scales: new Float32Array(rows).fill(scale), zeros: new Float32Array(rows).fill(zero) },
        group: new Int32Array(n),
        groups: 1,
        fit: { name: 'none', options: {}, fit: () => {} },
        blockSize: 128,
      },
      Float32Array.from(shift.flat()),
      alpha,
      kernels,
    );
    expect([...solution.codes]).toEqual(expected.flat());
  });

  it('refuses groups whose grids are not fixed', async () => {
    const problem = {
      rows,
      columns: n,
      weight: new Float32Array(rows * n),
      factor: new Float32Array(n * n),
      scheme: scheme({ format: uint3, zeroPoint: 'integer' }),
      group: new Int32Array(n),
      groups: 1,
      fit: { name: 'none', options: {}, fit: () => {} },
      blockSize: 128,
    };
    await expect(asymmetricSolve(problem, new Float32Array(n * n), 0.25, kernels)).rejects.toThrow(SchemeError);
  });

  it('is not combined with the retarget, which corrects the same error', () => {
    expect(() => gptq({ asymmetric: 0.25, retarget: 1 })).toThrow('correct the same error twice');
    expect(gptq({ asymmetric: 0.25 }).options).toMatchObject({ asymmetric: 0.25, retarget: 0 });
    expect(gptq({ asymmetric: 0.25 }).needs.map(({ name }) => name)).toEqual(['hessian', 'inputShift']);
    for (const asymmetric of [-0.1, 1.5])
      expect(() => gptq({ asymmetric })).toThrow('asymmetric must be a number from 0 to 1');
  });
});
