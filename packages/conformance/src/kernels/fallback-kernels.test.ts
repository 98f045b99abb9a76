import { fallbackKernels, KernelError, type Kernels, referenceKernels, ShapeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { kernelConformance } from './kernel-conformance.js';

/** What changes none of its arguments, but for the `out` of a product. */
const readers = new Set(['matmul', 'matmulInt8', 'rowErrors', 'scoreLogits']);

/** Writes nonsense to what it may change, then fails. */
function failing(calls: string[]): Kernels {
  const fail = (name: string) => async (args: { out?: any; x?: any; loss?: any; a?: any; b?: any }) => {
    calls.push(name);
    if (!readers.has(name))
      (args.loss ?? args.out ?? (name === 'hadamard' ? args.x : name === 'cholesky' ? args.a : args.b)).fill(7);
    if (name === 'matmul') args.out?.fill(7);
    throw new KernelError(`${name}: the device is lost`);
  };
  const changers = ['gram', 'cholesky', 'triangularSolve', 'gptqBlock', 'hadamard'];
  const names = [...readers, ...changers];
  return { ...referenceKernels, name: 'lost', ...Object.fromEntries(names.map((name) => [name, fail(name)])) };
}

describe('fallback kernels', () => {
  for (const { name, run } of kernelConformance) {
    it(`right although the first fail: ${name}`, async () => {
      const reasons: string[] = [];
      // A case may call several times: each of its calls begins on the failing ones.
      const fresh = () => fallbackKernels(failing([]), referenceKernels, ({ message }) => reasons.push(message));
      await run(new Proxy(referenceKernels, { get: (_, key) => Reflect.get(fresh(), key) }));
      // A descent computes on the kernels that cannot be lost from its beginning, as searches of grids do.
      if (name.startsWith('descent')) expect(reasons).toEqual([]);
      else if (!name.includes('refuses')) expect(reasons[0]).toContain('the device is lost');
    });
  }

  it('goes over once, and says why', async () => {
    const calls: string[] = [];
    const reasons: string[] = [];
    const next = { ...referenceKernels, splitsColumns: true };
    const kernels = fallbackKernels(failing(calls), next, ({ message }) => reasons.push(message));
    expect(kernels.splitsColumns).toBeFalsy();
    const one = Float32Array.of(2);
    for (let i = 0; i < 3; i++)
      expect(await kernels.matmul({ a: one, b: one, m: 1, n: 1, k: 1 })).toEqual(Float32Array.of(4));
    expect({ calls, reasons, name: kernels.name }).toEqual({
      calls: ['matmul'],
      reasons: ['matmul: the device is lost'],
      name: 'reference',
    });
    expect(kernels.splitsColumns).toBe(true);
  });

  it('passes other errors on', async () => {
    const kernels = fallbackKernels(referenceKernels, failing([]), () => {});
    await expect(kernels.hadamard({ x: new Float32Array(3), rows: 1, columns: 3, size: 3 })).rejects.toThrow(
      ShapeError,
    );
  });
});
