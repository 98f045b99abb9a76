import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { createCompute } from './engine.js';

const home = process.cwd();
afterEach(() => process.chdir(home));

/** Identity times two: any kernels multiply it right. */
const product = { a: Float32Array.of(1, 0, 0, 1), b: Float32Array.of(2, 0, 0, 2), m: 2, n: 2, k: 2 };

describe('--kernels webgpu', () => {
  it.each([
    {
      where: 'a folder with Dawn',
      dawn: true,
      folder: fileURLToPath(new URL('../../kernels-webgpu', import.meta.url)),
    },
    { where: 'any folder', dawn: false, folder: tmpdir() },
  ])('in $where: the GPU, or wasm and why, on the record', async ({ folder, dawn }) => {
    process.chdir(folder);
    const compute = await createCompute({ kernels: 'webgpu', threads: 1 });
    expect(await compute.kernels.matmul(product)).toEqual(product.b);
    if (compute.kernels.name === 'webgpu')
      expect(compute.notes).toEqual([expect.stringMatching(/^kernels on WebGPU: /)]);
    else {
      if (dawn) expect(process.env['Q_WEBGPU']).not.toBe('required');
      expect(compute.notes).toEqual([
        expect.stringMatching(
          /^the WebGPU kernels could not start \((no adapter: .*|the npm package webgpu is not installed here: .*)\): wasm-\w+ is used$/,
        ),
      ]);
    }
    await compute.dispose();
  });

  it('is one of two', async () => {
    await expect(createCompute({ kernels: 'gpu' })).rejects.toThrow('--kernels gpu: wasm, webgpu was expected');
  });
});
