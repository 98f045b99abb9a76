import { kernelConformance } from '@q/core/conformance';
import { afterAll, describe, expect, it } from 'vitest';
import { openDawn } from '../testing/dawn.js';
import { createWebgpuKernels } from './webgpu-kernels.js';

const found = await openDawn();
afterAll(() => found?.close());

describe.runIf(found)('webgpu kernels', () => {
  if (!found) return;
  const kernels = createWebgpuKernels(found);
  for (const { name, run } of kernelConformance) it(name, () => run(kernels));

  it('are the plain ones without any feature', async () => {
    const plain = createWebgpuKernels({ ...found, without: ['f16', 'subgroups', 'packedDot'] });
    const a = Int8Array.from({ length: 7 * 30 }, (_, i) => (i * 37) % 256);
    const args = { a, b: a, m: 7, n: 7, k: 30 };
    expect(await plain.matmulInt8(args)).toEqual(await kernels.matmulInt8(args));
  });
});
