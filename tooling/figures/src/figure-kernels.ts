import type { Kernels } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';

/**
 * Kernels of a figure. `QUANT_THREADS=1` keeps them and tfjs-node on one thread: on a machine that others use, threads
 * that wait for each other take many times as long as one that does not.
 */
export function figureKernels(): Promise<Kernels> {
  const threads = process.env.QUANT_THREADS;
  if (!threads) return createWasmKernels();
  // TensorFlow reads these when it is loaded, which is when the first engine is made.
  process.env.TF_NUM_INTRAOP_THREADS = threads;
  process.env.TF_NUM_INTEROP_THREADS = '1';
  process.env.OMP_NUM_THREADS = threads;
  return createWasmKernels({ threads: Number(threads) });
}
