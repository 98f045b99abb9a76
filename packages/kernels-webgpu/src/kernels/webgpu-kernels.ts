/**
 * Core's kernels on a GPU. Products, the Gram matrix, the sweep and Hadamard are f32 with f32 sums, in the order that
 * the header of each file in `wgsl/` states. int8 products are exact. WGSL has no f64, which Cholesky and the
 * triangular solves need, so these run on the kernels of the host.
 */
import { eagerGrams, type Kernels, referenceKernels } from '@q/core';
import { type GpuOptions, openGpu } from '../device/gpu.js';
import { gptqBlock } from './gptq-block.js';
import { gram } from './gram.js';
import { hadamard } from './hadamard.js';
import { matmul } from './matmul.js';
import { matmulInt8 } from './matmul-int8.js';
import { rowErrors } from './row-errors.js';

export interface WebgpuKernelOptions extends GpuOptions {
  /**
   * Kernels for operations that need f64 (`cholesky`, `triangularSolve`), for fitting grids, decoding and packing. They
   * are disposed of together with these kernels. Default: core's reference.
   */
  readonly host?: Kernels;
}

/**
 * Makes kernels on a device that the caller has requested. They have no synchronous forms, because synchronous code
 * cannot wait for a GPU.
 * @throws KernelError when there is no device; each operation throws it when the device is lost, too small or refuses
 */
export function createWebgpuKernels({ host = referenceKernels, ...options }: WebgpuKernelOptions): Kernels {
  const gpu = openGpu(options);
  return {
    name: 'webgpu',
    threads: 1,
    matmul: (args) => matmul(gpu, args),
    gram: (args) => gram(gpu, args),
    gatherGrams() {
      return eagerGrams(this);
    },
    cholesky: (args) => host.cholesky(args),
    triangularSolve: (args) => host.triangularSolve(args),
    gptqBlock: (args) => gptqBlock(gpu, args),
    rowErrors: (args) => rowErrors(gpu, args),
    splitsColumns: false,
    openDescent: (args) => host.openDescent(args),
    openOutputDescent: (args) => host.openOutputDescent(args),
    hadamard: (args) => hadamard(gpu, args),
    matmulInt8: (args) => matmulInt8(gpu, args),
    scoreLogits: (args) => host.scoreLogits(args),
    grids: host.grids,
    stream: host.stream,
    blocks: host.blocks,
    sync: undefined,
    dispose: () => host.dispose(),
  };
}
