import type { Runtime } from '@q/core';

/** A layer norm by its module, with a bias if the checkpoint has one. */
export function layerNorm<T>(runtime: Runtime<T>, module: string, x: T, epsilon: number): T {
  const bias = `${module}.bias`;
  const shift = runtime.has(bias) ? runtime.weight(bias) : undefined;
  return runtime.ops.layerNorm(x, runtime.weight(`${module}.weight`), shift, epsilon);
}
