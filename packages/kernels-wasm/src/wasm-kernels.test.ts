import {
  blockConformance,
  gridConformance,
  kernelConformance,
  longBlockConformance,
  streamConformance,
} from '@q/conformance';
import { createRandom, quantize, schemes, tensor } from '@q/core';
import { q4_0, q4_1, q4_K, q5_0, q5_1, q5_K, q6_K, q8_0 } from '@q/gguf';
import { afterAll, describe, expect, it } from 'vitest';
import { createWasmKernels } from './wasm-kernels.js';

const blockFormats = [q4_0, q4_1, q5_0, q5_1, q8_0, q4_K, q5_K, q6_K];
const levels = (['relaxed', 'simd128'] as const).flatMap((simd) => [1, 3].map((threads) => ({ simd, threads })));

describe.each(levels)('wasm kernels, $simd, $threads threads', async ({ simd, threads }) => {
  const kernels = await createWasmKernels({ simd, threads });
  afterAll(() => kernels.dispose());
  for (const { name, run } of kernelConformance) it(name, () => run(kernels));
  for (const { name, run } of gridConformance) it(name, () => run(kernels.grids));
  for (const { name, run } of streamConformance) it(name, () => run(kernels.stream));
  for (const { name, run } of [...blockConformance(blockFormats), ...longBlockConformance([q4_0, q4_K])])
    it(name, () => run(kernels.blocks));
});

describe('results', async () => {
  const one = await createWasmKernels({ threads: 1 });
  const many = await createWasmKernels({ threads: 4 });
  afterAll(() => Promise.all([one.dispose(), many.dispose()]));

  it('are the same bytes with one and with four threads', async () => {
    const random = createRandom('threads');
    const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
    const [m, n, k] = [301, 203, 517];
    const product = { a: normals(m * k), b: normals(k * n), m, n, k };
    expect(await many.matmul(product)).toEqual(await one.matmul(product));
    const x = normals(600 * 130);
    const factors = await Promise.all(
      [one, many].map(async (kernels) => {
        const a = new Float64Array(130 * 130);
        await kernels.gram({ x, tokens: 600, width: 130, out: a });
        await kernels.cholesky({ a, n: 130, form: 'reversed-upper' });
        return a;
      }),
    );
    expect(factors[1]).toEqual(factors[0]);
  });

  it('of rounding are the plain ones where values and codes lie in reserved memory', () => {
    const random = createRandom('reserved');
    const [rows, columns] = [7, 320];
    const weight = tensor(
      'f32',
      [rows, columns],
      Float32Array.from({ length: rows * columns }, () => random.normal()),
    );
    const { bytes, release } = many.stream.reserve(5 * rows * columns);
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, rows * columns);
    values.set(weight.data);
    for (const scheme of [schemes.nf4, schemes.int4]) {
      const into = bytes.subarray(4 * rows * columns).fill(99);
      const { codes } = quantize(tensor('f32', [rows, columns], values), scheme, { kernels: many, into });
      expect(codes.buffer).toBe(bytes.buffer);
      expect([...codes]).toEqual([...quantize(weight, scheme).codes]);
    }
    release();
  });

  it('of blocks are the same where values and bytes lie in reserved memory', () => {
    const random = createRandom('reserved blocks');
    const values = Float32Array.from({ length: 256 * 37 }, () => random.normal());
    const stream = many.stream;
    const [from, to] = [stream.reserve(values.byteLength), stream.reserve(144 * 37)];
    const data = new Float32Array(from.bytes.buffer, from.bytes.byteOffset, values.length);
    data.set(values);
    const blocks = many.blocks;
    expect(blocks.encode({ format: q4_K, source: { dtype: 'f32', data }, out: to.bytes })).toBe(true);
    const wanted = new Uint8Array(144 * 37);
    q4_K.encode(values, wanted);
    expect(Buffer.compare(to.bytes, wanted)).toBe(0);
    from.release();
    to.release();
  });

  it('of a product too large for one chunk are right', async () => {
    const [m, n, k] = [9000, 8, 1024];
    const a = new Float32Array(m * k);
    for (let i = 0; i < m; i++) a[i * k + (i % k)] = 1;
    const b = Float32Array.from({ length: k * n }, (_, i) => i % 1000);
    const c = await many.matmul({ a, b, m, n, k });
    for (let i = 0; i < m; i += 97) expect(c[i * n + 3]).toBe(b[(i % k) * n + 3]);
  });

  it('of a sweep too large for one chunk of rows are those of its rows alone', async () => {
    const random = createRandom('sweep');
    // At 2,100 columns a chunk has 1,984 rows: the second one has 27, which fill three panels and a part of the fourth.
    const [rows, columns, last] = [2011, 2100, 27];
    const factor = new Float32Array(columns * columns);
    for (let i = 0; i < columns; i++) {
      for (let j = i + 1; j < columns; j++) factor[i * columns + j] = random.normal() / Math.sqrt(columns);
      factor[i * columns + i] = 1 + random.uniform();
    }
    const weight = Float32Array.from({ length: rows * columns }, () => random.normal());
    const sweep = async (weight: Float32Array, rows: number) => {
      const out = {
        codes: new Uint8Array(rows * columns),
        difference: new Float32Array(columns * rows),
        loss: new Float64Array(rows),
      };
      const grids = { scales: new Float32Array(rows).fill(0.2), zeros: new Float32Array(rows).fill(7), groups: 1 };
      const group = new Int32Array(columns);
      const grid = { kind: 'linear', min: 0, max: 15 } as const;
      await many.gptqBlock({ ...out, ...grids, rows, columns, weight, factor, group, grid });
      return out;
    };
    const all = await sweep(weight, rows);
    const alone = await sweep(weight.slice((rows - last) * columns), last);
    expect(all.codes.slice((rows - last) * columns)).toEqual(alone.codes);
    expect(all.loss.slice(rows - last)).toEqual(alone.loss);
    for (let j = 0; j < columns; j++)
      expect(all.difference.slice((j + 1) * rows - last, (j + 1) * rows)).toEqual(
        alone.difference.slice(j * last, (j + 1) * last),
      );
  });
});
