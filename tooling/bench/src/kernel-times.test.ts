import { type Kernels, referenceKernels } from '@q/core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { timedKernels } from './kernel-times.js';

// The processor's clock is the test's own: other threads of the process, a compiler's or a collector's, would count
// too.
let spent = 0;
const work = (ms: number) => {
  spent += 1000 * ms;
};
beforeEach(() => {
  spent = 0;
  vi.spyOn(process, 'cpuUsage').mockImplementation((before) => ({
    user: 0.75 * spent - (before?.user ?? 0),
    system: 0.25 * spent - (before?.system ?? 0),
  }));
});
afterEach(() => vi.restoreAllMocks());

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
  expect(take()).toEqual({ hadamard: 60, rest: 30 });
  expect(take()).toEqual({ rest: 0 });
});

it('counts an operation that fails', async () => {
  const { kernels, take } = timedKernels(referenceKernels);
  await expect(kernels.hadamard({ x: new Float32Array(3), rows: 1, columns: 3, size: 3 })).rejects.toThrow();
  expect(take()).toHaveProperty('hadamard');
});
