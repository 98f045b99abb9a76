import { referenceKernels } from '@q/core';
import { describe, expect, it } from 'vitest';
import { gridConformance } from './grid-conformance.js';
import { kernelConformance } from './kernel-conformance.js';
import { streamConformance } from './stream-conformance.js';

describe('reference kernels', () => {
  for (const { name, run } of kernelConformance) it(name, () => run(referenceKernels));
  for (const { name, run } of gridConformance) it(name, () => run(referenceKernels.grids));
  for (const { name, run } of streamConformance) it(name, () => run(referenceKernels.stream));

  it('have Gram matrices of the set that takes them over', async () => {
    const calls: string[] = [];
    const own = { ...referenceKernels, gram: async () => void calls.push('own') };
    const { kernels, kept } = own.gatherGrams();
    await kernels.gram({ x: Float32Array.of(1), tokens: 1, width: 1, out: new Float64Array(1) });
    expect({ calls, kept }).toEqual({ calls: ['own'], kept: false });
  });
});
