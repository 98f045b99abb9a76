import type { Tensor } from '@q/core';
import type { TensorLookup } from '../layout.js';

/** Tensors in memory, as a layout's reader looks for them in a file. */
export const tensorLookup = (tensors: ReadonlyMap<string, Tensor>): TensorLookup => ({
  has: (name) => tensors.has(name),
  shape: (name) => tensors.get(name)?.shape ?? [],
  read: async (name) => tensors.get(name) as Tensor,
});
