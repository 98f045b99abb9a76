import type { Kernels } from '@q/core';
import { type ConformanceCase, check, normals, random } from './kernel-case.js';

function positiveDefinite(n: number): Float64Array {
  const x = normals((n + 3) * n);
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) for (let t = 0; t < n + 3; t++) a[i * n + j] += x[t * n + i] * x[t * n + j];
    a[i * n + i] += 1;
  }
  return a;
}

/** `F F^T` of a factor, whose other triangle must be zero. */
function squareOf(f: Float32Array | Float64Array, n: number, form: 'lower' | 'reversed-upper'): Float64Array {
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const outside = form === 'lower' ? j > i : j < i;
      if (outside && f[i * n + j] !== 0) throw new Error(`entry ${i}, ${j} is not zero`);
      for (let p = 0; p < n; p++) product[i * n + j] += f[i * n + p] * f[j * n + p];
    }
  }
  return product;
}

const forms = ['lower', 'reversed-upper'] as const;

/**
 * The allowed error, relative to the values: a few roundings for an f32 factor, many more of its own roundings for an
 * f64 factor.
 */
const backwardError = (factor: Float32Array | Float64Array, n: number) =>
  factor instanceof Float32Array ? 1e-6 * (n + 10) : 1e-9 * n;

// 330 columns: more than one block, and more than 256 columns before the last block.
const factorCases: ConformanceCase[] = [1, 3, 64, 65, 150, 330].flatMap((n) =>
  forms.map((form) => ({
    name: `cholesky ${form} ${n}: the factor is triangular and its product is the matrix`,
    async run(kernels) {
      const a = positiveDefinite(n);
      for (const kind of [Float64Array, Float32Array]) {
        const f = kind.from(a);
        if (!(await kernels.cholesky({ a: f, n, form }))) throw new Error('refused a positive definite matrix');
        check('R R^T', squareOf(f, n, form), a, backwardError(f, n));
        // A factor may be in the memory of the kernels.
        const reserve = kernels.stream.reserve(f.byteLength);
        const out = new kind(reserve.bytes.buffer as ArrayBuffer, reserve.bytes.byteOffset, n * n);
        await kernels.cholesky({ a, n, form, out });
        check('R R^T in reserved memory', squareOf(out, n, form), a, backwardError(f, n));
        reserve.release();
      }
    },
  })),
);

const choleskyCases: ConformanceCase[] = [1, 3, 64, 65, 150].flatMap((n) =>
  forms.flatMap((form): ConformanceCase[] => [
    {
      name: `cholesky ${form} ${n}: takes rows and columns in another order, another diagonal, and leaves the matrix for another result`,
      async run(kernels: Kernels) {
        const a = positiveDefinite(n);
        const turned = Int32Array.from({ length: n }, (_, i) => (i * 7 + 2) % n);
        for (const order of [turned, undefined]) {
          const at = (i: number) => order?.[i] ?? i;
          const raised = Float64Array.from({ length: n }, (_, i) => a[at(i) * n + at(i)] + 1);
          for (const diagonal of [raised, undefined]) {
            for (const given of [a, Float32Array.from(a)]) {
              for (const out of [new Float64Array(n * n), new Float32Array(n * n), undefined]) {
                const own = given.slice();
                if (!(await kernels.cholesky({ a: own, n, form, out, order, diagonal })))
                  throw new Error('refused a positive definite matrix');
                if (out) check('matrix', own, given, 0);
                const expected = Float64Array.from(own, (_, k) => {
                  const [i, j] = [Math.floor(k / n), k % n];
                  return i === j && diagonal ? diagonal[i] : given[at(i) * n + at(j)];
                });
                const factor = out ?? own;
                check('R R^T', squareOf(factor, n, form), expected, backwardError(factor, n));
              }
            }
          }
        }
      },
    },
    {
      name: `cholesky ${form} ${n}: says no to an indefinite matrix`,
      async run(kernels) {
        const a = positiveDefinite(n);
        a[Math.floor(n / 2) * (n + 1)] = -1;
        if (await kernels.cholesky({ a, n, form })) throw new Error('accepted it');
      },
    },
  ]),
);

const solveCases: ConformanceCase[] = [1, 5, 70, 300].flatMap((n) =>
  (['lower', 'upper'] as const).flatMap((triangle) =>
    [false, true].map((transpose) => ({
      name: `triangularSolve ${triangle}${transpose ? ' transposed' : ''} ${n}: x op(T) is b`,
      async run(kernels: Kernels) {
        const rows = 11;
        const t = new Float64Array(n * n);
        for (let i = 0; i < n; i++) {
          for (let j = 0; j < n; j++) if (triangle === 'lower' ? j < i : j > i) t[i * n + j] = random.normal() / n;
          t[i * n + i] = 1 + random.uniform();
        }
        const b = normals(rows * n);
        for (const x of [b.slice(), Float64Array.from(b)]) {
          await kernels.triangularSolve({ t, n, triangle, transpose, b: x, rows });
          const product = new Float64Array(rows * n);
          for (let row = 0; row < rows; row++) {
            for (let j = 0; j < n; j++)
              for (let i = 0; i < n; i++)
                product[row * n + j] += x[row * n + i] * (transpose ? t[j * n + i] : t[i * n + j]);
          }
          check('x op(T)', product, b, 1e-4);
        }
      },
    })),
  ),
);

const singularCase: ConformanceCase = {
  name: 'cholesky: an f32 factor has the pivots of an f64 one where few tokens and wide columns leave little but the damping',
  async run(kernels) {
    const [n, tokens] = [330, 8];
    const x = normals(tokens * n).map((value, i) => (i % n < 3 ? 1000 * value : value));
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) for (let t = 0; t < tokens; t++) a[i * n + j] += x[t * n + i] * x[t * n + j];
    let mean = 0;
    for (let i = 0; i < n; i++) mean += a[i * n + i] / n;
    const diagonal = Float64Array.from({ length: n }, (_, i) => a[i * n + i] + 0.01 * mean);
    const pivots = async (out: Float32Array | Float64Array) => {
      if (!(await kernels.cholesky({ a, n, form: 'reversed-upper', out, diagonal }))) throw new Error('refused it');
      return Float64Array.from({ length: n }, (_, i) => out[i * n + i]);
    };
    const exact = await pivots(new Float64Array(n * n));
    const narrow = await pivots(new Float32Array(n * n));
    check(
      'pivots over those in f64',
      narrow.map((pivot, i) => pivot / exact[i]),
      exact.map(() => 1),
      2e-3,
    );
  },
};

/** Cholesky factors and triangular solves. */
export const factorConformance: readonly ConformanceCase[] = [
  ...factorCases,
  singularCase,
  ...choleskyCases,
  ...solveCases,
];
