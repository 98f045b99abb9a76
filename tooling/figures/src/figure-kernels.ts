import type { Kernels } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';

/**
 * Kernels of a figure. `QUANT_THREADS=1` keeps them and tfjs-node on one thread. On a machine with other processes,
 * threads that wait for each other take many times as long as a single thread.
 */
export function figureKernels(): Promise<Kernels> {
  const threads = process.env.QUANT_THREADS;
  if (!threads) return createWasmKernels();
  // TensorFlow reads these variables when it is loaded, which is when the first engine is made.
  process.env.TF_NUM_INTRAOP_THREADS = threads;
  process.env.TF_NUM_INTEROP_THREADS = '1';
  process.env.OMP_NUM_THREADS = threads;
  return createWasmKernels({ threads: Number(threads) });
}
