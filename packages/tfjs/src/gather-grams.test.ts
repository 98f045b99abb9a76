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

  it('of more than one strip are the sums of products, in both triangles', async () => {
    const [tokens, width] = [3, 800];
    const x = Float32Array.from({ length: tokens * width }, (_, i) => (i * 7) % 13);
    const out = new Float64Array(width * width).fill(2);
    const gathered = kernels.gatherGrams();
    for (let call = 0; call < 2; call++) await gathered.kernels.gram({ x, tokens, width, out });
    await gathered.settle();
    const product = (i: number, j: number) =>
      x[i]! * x[j]! + x[width + i]! * x[width + j]! + x[2 * width + i]! * x[2 * width + j]!;
    for (let i = 0; i < width; i += 7)
      for (let j = 0; j < width; j++) expect(out[i * width + j]).toBe(2 + 2 * product(i, j));
    expect(tf.memory().numTensors).toBe(0);
  });
});
