import type { GatheredGrams, Kernels } from '../contracts/kernels.js';

/** `gatherGrams` for kernels that keep no sums: their `gram` updates the whole matrix at every call. */
export function eagerGrams(kernels: Kernels): GatheredGrams {
  return { kernels, kept: false, settle: async () => {}, release() {} };
}
