/**
 * What every implementation of the kernels must fulfil, as cases that throw. Expected values are computed here in f64
 * straight from the definitions, not by the reference kernels, so the same suite checks these too.
 */
import type { GptqBlockArgs, Kernels } from '../contracts/kernels.js';
import { roundHalfEven } from '../dtypes/round.js';
import { createRandom } from '../random.js';

export interface ConformanceCase {
  readonly name: string;
  run(kernels: Kernels): Promise<void>;
}

const random = createRandom('kernel conformance');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

function check(what: string, found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  if (found.length !== expected.length)
    throw new Error(`${what}: ${found.length} values, ${expected.length} were expected`);
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(found[i] - expected[i]) <= tolerance))
      throw new Error(`${what}: value ${i} is ${found[i]}, ${expected[i]} was expected`);
  }
}

const matmulCases: ConformanceCase[] = [
  [1, 1, 1],
  [7, 5, 3],
  [6, 8, 256],
  [97, 130, 300],
  [13, 9, 513],
  [200, 16, 64],
].flatMap(([m, n, k]) =>
  [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => ({
      name: `matmul ${m}x${k}x${n}${transposeA ? ' A^T' : ''}${transposeB ? ' B^T' : ''}`,
      async run(kernels: Kernels) {
        const a = normals(m * k);
        const b = normals(k * n);
        const start = normals(m * n);
        const expected = new Float64Array(m * n);
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            for (let p = 0; p < k; p++)
              expected[i * n + j] += a[transposeA ? p * m + i : i * k + p] * b[transposeB ? j * k + p : p * n + j];
          }
        }
        const args = { a, b, m, n, k, transposeA, transposeB };
        check('product', await kernels.matmul(args), expected, 1e-6 * k + 1e-5);
        const sum = start.slice();
        await kernels.matmul({ ...args, out: sum, accumulate: true });
        check(
          'accumulated',
          sum,
          expected.map((value, i) => value + start[i]),
          1e-6 * k + 1e-5,
        );
        if (kernels.sync) check('synchronous', kernels.sync.matmul(args), expected, 1e-6 * k + 1e-5);
      },
    })),
  ),
);

const gramCases: ConformanceCase[] = [
  [5, 7],
  [300, 45],
  [2500, 40],
].map(([tokens, width]) => ({
  name: `gram ${tokens}x${width}`,
  async run(kernels) {
    const x = normals(tokens * width);
    for (const out of [new Float64Array(width * width).fill(1), new Float32Array(width * width).fill(1)]) {
      await kernels.gram({ x, tokens, width, out });
      const expected = new Float64Array(width * width).fill(1);
      addGram(expected, x, width);
      check('gram', out, expected, 1e-6 * tokens + 1e-4);
      for (let i = 0; i < width; i++) {
        for (let j = 0; j < i; j++)
          if (out[i * width + j] !== out[j * width + i]) throw new Error(`not symmetric at ${i}, ${j}`);
      }
    }
  },
}));

function addGram(sum: Float64Array, x: Float32Array, width: number): void {
  for (let start = 0; start < x.length; start += width)
    for (let i = 0; i < width; i++) for (let j = 0; j < width; j++) sum[i * width + j] += x[start + i] * x[start + j];
}

/** Of kernels that have no `gatherGrams`, their `gram` stands in for it, as it does for callers. */
const gatherCases: ConformanceCase[] = [
  {
    name: 'gatherGrams: two matrices in turn, other kernels between; the diagonal after each call, all of it in the end',
    async run(kernels) {
      const gathered = kernels.gatherGrams?.();
      const grams = [45, 130].map((width) => ({
        width,
        out: new Float64Array(width * width).fill(1),
        expected: new Float64Array(width * width).fill(1),
      }));
      for (const tokens of [7, 1100, 300]) {
        for (const { width, out, expected } of grams) {
          const x = normals(tokens * width);
          addGram(expected, x, width);
          await (gathered?.kernels ?? kernels).gram({ x, tokens, width, out });
          const diagonal = (of: Float64Array) => of.filter((_, i) => i % (width + 1) === 0);
          check('diagonal', diagonal(out), diagonal(expected), 1e-3);
          // Whatever else computes in between uses memory of its own.
          await kernels.matmul({ a: normals(4e4), b: normals(4e4), m: 200, n: 200, k: 200 });
          await kernels.gram({ x, tokens, width, out: new Float64Array(width * width) });
        }
      }
      await gathered?.settle();
      for (const { width, out, expected } of grams) {
        check('sum', out, expected, 1e-3);
        for (let i = 0; i < width; i++)
          for (let j = 0; j < i; j++)
            if (out[i * width + j] !== out[j * width + i]) throw new Error(`not symmetric at ${i}, ${j}`);
      }
    },
  },
  {
    name: 'gatherGrams: what was released is forgotten, and its place used again',
    async run(kernels) {
      const width = 40;
      const x = normals(50 * width);
      const expected = new Float64Array(width * width);
      addGram(expected, x, width);
      for (const end of ['release', 'settle'] as const) {
        const gathered = kernels.gatherGrams?.();
        const out = new Float64Array(width * width);
        await (gathered?.kernels ?? kernels).gram({ x, tokens: 50, width, out });
        await gathered?.[end]();
        gathered?.release();
        if (end === 'settle') check('sum', out, expected, 1e-4);
      }
    },
  },
];

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

/** Of its values' size, a factor in f32 may be wrong by a few roundings, one in f64 by many more of its own. */
const backwardError = (factor: Float32Array | Float64Array, n: number) =>
  factor instanceof Float32Array ? 1e-6 * (n + 10) : 1e-9 * n;

// 330 columns: more than one block, and more than 256 that come before the last one.
const factorCases: ConformanceCase[] = [1, 3, 64, 65, 150, 330].flatMap((n) =>
  forms.map((form) => ({
    name: `cholesky ${form} ${n}: the factor is triangular and its product is the matrix`,
    async run(kernels) {
      const a = positiveDefinite(n);
      for (const kind of [Float64Array, Float32Array]) {
        const f = kind.from(a);
        if (!(await kernels.cholesky({ a: f, n, form }))) throw new Error('refused a positive definite matrix');
        check('R R^T', squareOf(f, n, form), a, backwardError(f, n));
        // A factor may go where the kernels compute.
        const room = kernels.stream?.reserve(f.byteLength);
        if (!room) continue;
        const out = new kind(room.bytes.buffer as ArrayBuffer, room.bytes.byteOffset, n * n);
        await kernels.cholesky({ a, n, form, out });
        check('R R^T in reserved memory', squareOf(out, n, form), a, backwardError(f, n));
        room.release();
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

const solveCases: ConformanceCase[] = [1, 5, 70].flatMap((n) =>
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

/** Rounds column by column from the definition in the contract; returns how close the roundings were to a tie. */
function sweep(
  args: Omit<GptqBlockArgs, 'codes' | 'difference' | 'loss'>,
  codes: Uint8Array,
): { difference: Float64Array; loss: Float64Array } {
  const { rows, columns, weight, feedback, factor, scales, zeros, groups, group, grid, order } = args;
  const difference = new Float64Array(rows * columns);
  const loss = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      const at = row * columns + (order ? order[j] : j);
      let sum = feedback ? feedback[row * columns + j] : 0;
      for (let i = 0; i < j; i++) sum += difference[i * rows + row] * factor[i * columns + j];
      const target = weight[at] + sum / factor[j * columns + j];
      const scale = scales[row * groups + group[j]];
      const zero = zeros[row * groups + group[j]];
      let value: number;
      if (grid.kind === 'linear') {
        const exact = target / scale + zero;
        const q = Math.min(grid.max, Math.max(grid.min, roundHalfEven(exact)));
        const found = codes[at] + grid.min;
        // f32 and f64 may fall to different sides of a tie: follow the implementation there, and only there.
        if (found !== q && Math.abs(Math.abs(exact - Math.floor(exact)) - 0.5) > 1e-3)
          throw new Error(`code of row ${row}, column ${j} is ${found}, ${q} was expected`);
        value = (found - zero) * scale;
      } else {
        const index = grid.codes.indexOf(codes[at]);
        const best = Math.min(...[...grid.levels].map((level) => Math.abs(level - target / scale)));
        if (Math.abs(Math.abs(grid.levels[index] - target / scale) - best) > 1e-3)
          throw new Error(`level of row ${row}, column ${j} is not the nearest`);
        value = grid.levels[index] * scale;
      }
      difference[j * rows + row] = weight[at] - value;
      loss[row] += ((target - value) * factor[j * columns + j]) ** 2;
    }
  }
  return { difference, loss };
}

const gptqCases: ConformanceCase[] = [
  { name: 'integers', grid: { kind: 'linear' as const, min: 0, max: 15 }, rows: 37, columns: 50 },
  { name: 'signed integers', grid: { kind: 'linear' as const, min: -4, max: 3 }, rows: 3, columns: 128 },
  { name: 'more columns than a block', grid: { kind: 'linear' as const, min: 0, max: 7 }, rows: 70, columns: 643 },
  // 16 MB of factor: implementations that take it in parts take it in more than one.
  { name: 'very many columns', grid: { kind: 'linear' as const, min: 0, max: 7 }, rows: 3, columns: 2100 },
  { name: 'one row and column', grid: { kind: 'linear' as const, min: 0, max: 3 }, rows: 1, columns: 1 },
  {
    name: 'levels',
    grid: {
      kind: 'levels' as const,
      levels: Float32Array.of(-1, -0.5, 0, 0.3, 1),
      codes: Uint8Array.of(9, 3, 2, 1, 0),
    },
    rows: 18,
    columns: 20,
  },
].map(({ name, grid, rows, columns }) => ({
  name: `gptqBlock with ${name}`,
  async run(kernels) {
    // Small beside the diagonal: errors of earlier columns must not grow from column to column.
    const factor = new Float32Array(columns * columns);
    for (let i = 0; i < columns; i++) {
      for (let j = i + 1; j < columns; j++) factor[i * columns + j] = random.normal() / Math.sqrt(columns);
      factor[i * columns + i] = 1 + random.uniform();
    }
    const groups = 3;
    const args = {
      rows,
      columns,
      weight: normals(rows * columns),
      factor,
      scales: normals(rows * groups).map((x) => 0.1 + 0.1 * Math.abs(x)),
      zeros: Float32Array.from({ length: rows * groups }, () =>
        grid.kind === 'linear' && grid.min === 0 ? random.integer(16) : 0,
      ),
      groups,
      group: Int32Array.from({ length: columns }, (_, j) => j % groups),
      grid,
    };
    const reversed = Int32Array.from({ length: columns }, (_, j) => columns - 1 - j);
    const swapped = reversed.map((_, j) => (j % 2 === 0 ? Math.min(j + 1, columns - 1) : j - 1));
    for (const [feedback, order] of [
      [normals(rows * columns), undefined],
      [undefined, reversed],
      [normals(rows * columns), swapped],
    ] as const) {
      const codes = new Uint8Array(rows * columns);
      const difference = new Float32Array(rows * columns);
      const loss = new Float64Array(rows).fill(2);
      await kernels.gptqBlock({ ...args, feedback, order, codes, difference, loss });
      const expected = sweep({ ...args, feedback, order }, codes);
      check('difference', difference, expected.difference, 1e-3);
      const alone = new Uint8Array(rows * columns);
      await kernels.gptqBlock({ ...args, feedback, order, codes: alone, loss: new Float64Array(rows) });
      check('codes where nobody wants the difference', alone, codes, 0);
      for (let row = 0; row < rows; row++)
        check('loss', [loss[row] - 2], [expected.loss[row]], 1e-3 * expected.loss[row] + 1e-4);
    }
  },
}));

const errorCases: ConformanceCase[] = [
  [1, 1],
  [9, 7],
  [20, 330],
].map(([rows, columns]) => ({
  name: `rowErrors ${rows}x${columns}: squared norms of the rows of D R`,
  async run(kernels) {
    const difference = normals(rows * columns);
    const factor = new Float32Array(columns * columns);
    for (let i = 0; i < columns; i++)
      for (let j = i; j < columns; j++) factor[i * columns + j] = random.normal() / Math.sqrt(columns);
    const expected = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      for (let j = 0; j < columns; j++) {
        let sum = 0;
        for (let i = 0; i < columns; i++) sum += difference[row * columns + i] * factor[i * columns + j];
        expected[row] += sum ** 2;
      }
    }
    check('errors', await kernels.rowErrors({ difference, factor, rows, columns }), expected, 1e-5 * columns);
    // What lies where the kernels compute is read there.
    const room = kernels.stream?.reserve(4 * columns ** 2);
    if (!room) return;
    const resident = new Float32Array(room.bytes.buffer, room.bytes.byteOffset, columns ** 2);
    resident.set(factor);
    const found = await kernels.rowErrors({ difference, factor: resident, rows, columns });
    room.release();
    check('errors of a factor in reserved memory', found, expected, 1e-5 * columns);
  },
}));

const smallCases: ConformanceCase[] = [
  {
    name: 'hadamard: entries are signs of shared bits over sqrt(size), and it is its own inverse',
    async run(kernels) {
      for (const size of [1, 2, 8, 64]) {
        const columns = size * 3;
        const x = normals(2 * columns);
        const y = x.slice();
        await kernels.hadamard({ x: y, rows: 2, columns, size });
        const expected = new Float64Array(x.length);
        for (let chunk = 0; chunk < x.length; chunk += size) {
          for (let i = 0; i < size; i++) {
            for (let j = 0; j < size; j++) {
              let parity = i & j;
              for (let shift = 16; shift > 0; shift >>= 1) parity ^= parity >> shift;
              expected[chunk + i] += ((parity & 1 ? -1 : 1) * x[chunk + j]) / Math.sqrt(size);
            }
          }
        }
        check('transform', y, expected, 1e-5);
        await kernels.hadamard({ x: y, rows: 2, columns, size });
        check('inverse', y, x, 1e-5);
      }
    },
  },
  {
    name: 'hadamard: refuses sizes that are not powers of two or do not divide the columns',
    async run(kernels) {
      for (const size of [3, 8]) {
        const failed = await kernels.hadamard({ x: new Float32Array(12), rows: 1, columns: 12, size }).then(
          () => false,
          () => true,
        );
        if (!failed) throw new Error(`took size ${size}`);
      }
    },
  },
  {
    name: 'matmulInt8 is exact',
    async run(kernels) {
      for (const [m, n, k] of [
        [1, 1, 1],
        [9, 7, 77],
        [4, 12, 1000],
      ]) {
        const bytes = (count: number) => Int8Array.from({ length: count }, () => random.integer(256) - 128);
        const a = bytes(m * k).fill(-128, 0, k);
        const b = bytes(n * k).fill(-128, 0, k);
        const expected = new Int32Array(m * n);
        for (let i = 0; i < m; i++)
          for (let j = 0; j < n; j++) for (let p = 0; p < k; p++) expected[i * n + j] += a[i * k + p] * b[j * k + p];
        check('product', await kernels.matmulInt8({ a, b, m, n, k }), expected, 0);
      }
    },
  },
];

export const kernelConformance: readonly ConformanceCase[] = [
  ...matmulCases,
  ...gramCases,
  ...gatherCases,
  ...factorCases,
  ...choleskyCases,
  ...solveCases,
  ...gptqCases,
  ...errorCases,
  ...smallCases,
];
