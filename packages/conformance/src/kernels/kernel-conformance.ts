/**
 * Checks of every implementation of the kernels, as cases that throw. Expected values are computed here in f64 from the
 * definitions, not by the reference kernels, so the same suite checks the reference kernels too.
 */
import type { Kernels } from '@q/core';
import { descentConformance } from './descent-conformance.js';
import { factorConformance } from './factor-conformance.js';
import { gptqConformance } from './gptq-conformance.js';
import { type ConformanceCase, check, normals, random } from './kernel-case.js';

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

const gatherCases: ConformanceCase[] = [
  {
    name: 'gatherGrams: two matrices in turn, other kernels between; the diagonal after each call, all of it in the end',
    async run(kernels) {
      const gathered = kernels.gatherGrams();
      const grams = [45, 130].map((width) => ({
        width,
        out: new Float64Array(width * width).fill(1),
        expected: new Float64Array(width * width).fill(1),
      }));
      for (const tokens of [7, 1100, 300]) {
        for (const { width, out, expected } of grams) {
          const x = normals(tokens * width);
          addGram(expected, x, width);
          await gathered.kernels.gram({ x, tokens, width, out });
          const diagonal = (of: Float64Array) => of.filter((_, i) => i % (width + 1) === 0);
          check('diagonal', diagonal(out), diagonal(expected), 1e-3);
          // Other computations in between use other memory.
          await kernels.matmul({ a: normals(4e4), b: normals(4e4), m: 200, n: 200, k: 200 });
          await kernels.gram({ x, tokens, width, out: new Float64Array(width * width) });
        }
      }
      await gathered.settle();
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
        const gathered = kernels.gatherGrams();
        const out = new Float64Array(width * width);
        await gathered.kernels.gram({ x, tokens: 50, width, out });
        await gathered[end]();
        gathered.release();
        if (end === 'settle') check('sum', out, expected, 1e-4);
      }
    },
  },
];

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
    name: 'scoreLogits: log likelihoods, places and divergences by their definitions',
    async run(kernels) {
      for (const [rows, vocabulary] of [
        [1, 3],
        [5, 37],
        [7, 4096],
      ]) {
        const logits = normals(rows * vocabulary);
        const original = logits.map((value, i) => value + 0.1 * logits[(i + 1) % logits.length] + 20);
        const both = await kernels.scoreLogits({ logits, original, rows, vocabulary });
        const alone = await kernels.scoreLogits({ logits, rows, vocabulary });
        const same = await kernels.scoreLogits({ logits, original: logits.slice(), rows, vocabulary });
        if (alone.original) throw new Error('compared with an original that is not there');
        for (let row = 0; row < rows; row++) {
          const [q, p] = [logits, original].map((all) => all.slice(row * vocabulary, (row + 1) * vocabulary));
          const [logQ, logP] = [q, p].map((all) => Math.log(all.reduce((sum, value) => sum + Math.exp(value), 0)));
          let kl = 0;
          for (let i = 0; i < vocabulary; i++) kl += Math.exp(p[i] - logP) * (p[i] - logP - q[i] + logQ);
          const compared = both.original;
          if (!compared) throw new Error('did not compare with the original');
          check('logs', [both.logs[row], alone.logs[row], compared.logs[row]], [logQ, logQ, logP], 1e-6);
          check('divergence', [compared.divergences[row]], [kl], 1e-5);
          check('divergence of equals', [same.original?.divergences[row] ?? Number.NaN], [0], 1e-9);
          const places = [both.tops[row], alone.tops[row], compared.tops[row]];
          const expected = [q, q, p].map((all) => all.indexOf(Math.max(...all)));
          if (`${places}` !== `${expected}`) throw new Error(`places of the largest are ${places}, not ${expected}`);
        }
        logits[0] = Number.NaN;
        const broken = await kernels.scoreLogits({ logits, original, rows, vocabulary });
        if (Number.isFinite(broken.logs[0])) throw new Error('the log likelihood of a row with NaN is finite');
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
  ...factorConformance,
  ...gptqConformance,
  ...descentConformance,
  ...smallCases,
];
