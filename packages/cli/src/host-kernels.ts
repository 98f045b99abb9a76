import { type Kernels, referenceKernels } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';

/** The wasm kernels, or the reference if they do not start; then `note` is called. */
export const openHostKernels = (threads: number | undefined, note: (text: string) => void): Promise<Kernels> =>
  createWasmKernels({ threads }).catch((error: Error) => {
    note(`the wasm kernels could not start (${error.message}): the slow reference kernels are used`);
    return referenceKernels;
  });
