import { createRandom, type GridKernels } from '@q/core';
import { gridConformance, kernelConformance } from '@q/core/conformance';
import { afterAll, describe, expect, it } from 'vitest';
import { createWasmKernels } from './wasm-kernels.js';

const levels = (['relaxed', 'simd128'] as const).flatMap((simd) => [1, 3].map((threads) => ({ simd, threads })));

describe.each(levels)('wasm kernels, $simd, $threads threads', async ({ simd, threads }) => {
  const kernels = await createWasmKernels({ simd, threads });
  afterAll(() => kernels.dispose());
  for (const { name, run } of kernelConformance) it(name, () => run(kernels));
  for (const { name, run } of gridConformance) it(name, () => run(kernels.grids as GridKernels));
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

  it('of a product too large for one chunk are right', async () => {
    const [m, n, k] = [9000, 8, 1024];
    const a = new Float32Array(m * k);
    for (let i = 0; i < m; i++) a[i * k + (i % k)] = 1;
    const b = Float32Array.from({ length: k * n }, (_, i) => i % 1000);
    const c = await many.matmul({ a, b, m, n, k });
    for (let i = 0; i < m; i += 97) expect(c[i * n + 3]).toBe(b[(i % k) * n + 3]);
  });
});
