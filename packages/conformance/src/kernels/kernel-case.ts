import { createRandom, type Kernels } from '@q/core';

/** A check of every implementation of the kernels. It throws if an implementation does not pass. */
export interface ConformanceCase {
  readonly name: string;
  run(kernels: Kernels): Promise<void>;
}

export const random = createRandom('kernel conformance');
export const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

/** Compares values one by one. */
export function check(what: string, found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  if (found.length !== expected.length)
    throw new Error(`${what}: ${found.length} values, ${expected.length} were expected`);
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(found[i] - expected[i]) <= tolerance))
      throw new Error(`${what}: value ${i} is ${found[i]}, ${expected[i]} was expected`);
  }
}
