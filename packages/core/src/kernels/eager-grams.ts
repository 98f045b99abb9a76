import type { GatheredGrams, Kernels } from '../contracts/kernels.js';

/** `gatherGrams` of kernels that keep no sums: their `gram` brings the whole matrix up to date with every call. */
export function eagerGrams(kernels: Kernels): GatheredGrams {
  return { kernels, kept: false, settle: async () => {}, release() {} };
}
