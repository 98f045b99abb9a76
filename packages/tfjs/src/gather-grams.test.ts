import { kernelConformance } from '@q/conformance';
import { referenceKernels } from '@q/core';
import { describe, expect, it } from 'vitest';
import { gatherGrams } from './gather-grams.js';
import { loadCpu } from './load-node.js';

describe('Gram matrices by the products of an engine', async () => {
  const { tf } = loadCpu();
  const activate = () => void tf.setBackend('cpu');
  const kernels = { ...referenceKernels, gatherGrams: () => gatherGrams(tf, activate, referenceKernels, 100) };
  for (const { name, run } of kernelConformance.filter(({ name }) => name.startsWith('gatherGrams')))
    it(name, () => run(kernels));

  it.each([
    ['of one product', 800],
    ['of two strips', 1301],
    ['of more than one strip', 2100],
  ])('%s are the sums of products, in both triangles', async (_what, width) => {
    const tokens = 3;
    const x = Float32Array.from({ length: tokens * width }, (_, i) => (i * 7) % 13);
    const out = new Float64Array(width * width).fill(2);
    const gathered = kernels.gatherGrams();
    for (let call = 0; call < 2; call++) await gathered.kernels.gram({ x, tokens, width, out });
    await gathered.settle();
    const product = (i: number, j: number) =>
      x[i]! * x[j]! + x[width + i]! * x[width + j]! + x[2 * width + i]! * x[2 * width + j]!;
    for (let i = 0; i < width; i += 77)
      for (let j = 0; j < width; j++) expect(out[i * width + j]).toBe(2 + 2 * product(i, j));
    expect(tf.memory().numTensors).toBe(0);
  });

  it.each(['settle', 'release'] as const)('of many tokens leave nothing on the engine after %s', async (end) => {
    const [tokens, width] = [5000, 100];
    const x = Float32Array.from({ length: tokens * width }, (_, i) => (i + Math.floor(i / width)) % 5);
    const out = new Float64Array(width * width);
    const gathered = kernels.gatherGrams();
    for (let call = 0; call < 3; call++) await gathered.kernels.gram({ x, tokens, width, out });
    await gathered[end]();
    expect(tf.memory().numTensors).toBe(0);
    // The first feature is 0, 1, 2, 3, 4 in turn; the second one is 1 ahead.
    expect(out[0]).toBe(3 * 1000 * (1 + 4 + 9 + 16));
    if (end === 'settle') expect([out[1], out[width]]).toEqual([3 * 1000 * (2 + 6 + 12), 3 * 1000 * (2 + 6 + 12)]);
  });
});
