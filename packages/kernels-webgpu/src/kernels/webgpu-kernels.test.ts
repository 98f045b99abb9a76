import { kernelConformance } from '@q/conformance';
import { afterAll, describe, expect, it } from 'vitest';
import { openDawn } from '../testing/dawn.js';
import { createWebgpuKernels } from './webgpu-kernels.js';

const found = await openDawn();
afterAll(() => found?.close());

describe.runIf(found)('webgpu kernels', () => {
  if (!found) return;
  const kernels = createWebgpuKernels(found);
  for (const { name, run } of kernelConformance) it(name, () => run(kernels));

  it('hadamard: chunks larger than workgroup memory', async () => {
    const size = 16384;
    const x = new Float32Array(2 * size);
    x[3] = 128;
    x[size] = 1;
    await kernels.hadamard({ x, rows: 1, columns: 2 * size, size });
    const parity = (i: number) => ((i & 1) + ((i >> 1) & 1)) % 2;
    for (let i = 0; i < size; i += 97) {
      expect(x[i]).toBeCloseTo(parity(i) ? -1 : 1, 5);
      expect(x[size + i]).toBeCloseTo(1 / 128, 7);
    }
  });

  it('are the plain ones without any feature', async () => {
    const plain = createWebgpuKernels({ ...found, without: ['f16', 'subgroups', 'packedDot'] });
    const a = Int8Array.from({ length: 7 * 30 }, (_, i) => (i * 37) % 256);
    const args = { a, b: a, m: 7, n: 7, k: 30 };
    expect(await plain.matmulInt8(args)).toEqual(await kernels.matmulInt8(args));
  });
});
