import type { Tensor } from '@q/core';
import type { TensorLookup } from '../layout.js';

/** Tensors in memory, with the interface that a layout's reader has for files. */
export const tensorLookup = (tensors: ReadonlyMap<string, Tensor>): TensorLookup => ({
  has: (name) => tensors.has(name),
  shape: (name) => tensors.get(name)?.shape ?? [],
  read: async (name) => tensors.get(name) as Tensor,
});
