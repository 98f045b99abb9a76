import { type Kernels, referenceKernels } from '@q/core';
import { expect, it } from 'vitest';
import { timedKernels } from './kernel-times.js';

/** Keeps the processor busy. */
function work(ms: number): void {
  const start = process.cpuUsage();
  for (let spent = 0; spent < 1000 * ms; spent = process.cpuUsage(start).user);
}

it('counts an operation where it is called, the rest apart, and begins anew', async () => {
  const slow: Kernels = {
    ...referenceKernels,
    async hadamard(args) {
      work(60);
      await referenceKernels.hadamard(args);
    },
  };
  const { kernels, take } = timedKernels(slow);
  take();
  const x = Float32Array.of(1, 1);
  await kernels.hadamard({ x, rows: 1, columns: 2, size: 2 });
  expect(x[0]).toBeCloseTo(Math.SQRT2, 6);
  work(30);
  const times = take();
  expect(times.hadamard).toBeGreaterThanOrEqual(59);
  expect(times.rest).toBeGreaterThanOrEqual(29);
  expect(times.hadamard).toBeGreaterThan(times.rest);
  expect(Object.keys(take())).toEqual(['rest']);
});

it('counts an operation that fails', async () => {
  const { kernels, take } = timedKernels(referenceKernels);
  await expect(kernels.hadamard({ x: new Float32Array(3), rows: 1, columns: 3, size: 3 })).rejects.toThrow();
  expect(take()).toHaveProperty('hadamard');
});
