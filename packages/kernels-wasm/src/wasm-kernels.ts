/**
 * Kernels in WebAssembly SIMD. Products and the sweep are f32 with f32 sums (fused with relaxed SIMD), in blocks of 256
 * along k. The Gram matrix sums 512 tokens in f32; these sums are added in f64. Cholesky is f64, except for the
 * products of an f32 factor, which are sums of 256 in f32. Results do not depend on the number of threads. They differ
 * between SIMD levels by rounding.
 */
import type { Kernels } from '@q/core';
import { blockKernels } from './blocks.js';
import { openDescent } from './descent.js';
import { cholesky, triangularSolve } from './factor.js';
import { gptqBlock, rowErrors } from './gptq-block.js';
import { gatherGrams, gram } from './gram.js';
import { gridKernels } from './grids.js';
import { matmul } from './matmul.js';
import { openOutputDescent } from './output-descent.js';
import { createPool, defaultThreads } from './pool.js';
import { scoreLogits } from './score-logits.js';
import type { SimdLevel } from './simd.js';
import { hadamard, matmulInt8 } from './small-kernels.js';
import { streamKernels } from './stream.js';

export interface WasmKernelOptions {
  /** Default: the cores, at most 8. Results do not depend on the number of threads. */
  readonly threads?: number;
  /** `auto`: relaxed if the platform has it. */
  readonly simd?: SimdLevel | 'auto';
}

/**
 * Starts the kernels and their threads.
 * @throws Error when the platform has no WebAssembly SIMD and threads, or lacks the requested SIMD level
 */
export async function createWasmKernels(options: WasmKernelOptions = {}): Promise<Kernels> {
  const pool = await createPool({ threads: options.threads ?? (await defaultThreads()), simd: options.simd ?? 'auto' });
  const kernels: Kernels = {
    name: pool.simd === 'relaxed' ? 'wasm-relaxed' : 'wasm-simd128',
    threads: pool.threads,
    matmul: async (args) => matmul(pool, args),
    gram: async (args) => gram(pool, args),
    gatherGrams: () => gatherGrams(pool, kernels),
    cholesky: async (args) => cholesky(pool, args),
    triangularSolve: async (args) => triangularSolve(pool, args),
    gptqBlock: async (args) => gptqBlock(pool, args),
    rowErrors: async (args) => rowErrors(pool, args),
    splitsColumns: true,
    openDescent: (args) => openDescent(pool, args),
    openOutputDescent: (args) => openOutputDescent(pool, args),
    hadamard: async (args) => hadamard(pool, args),
    matmulInt8: async (args) => matmulInt8(pool, args),
    scoreLogits: async (args) => scoreLogits(pool, args),
    grids: gridKernels(pool),
    stream: streamKernels(pool),
    blocks: blockKernels(pool),
    sync: { matmul: (args) => matmul(pool, args), matmulInt8: (args) => matmulInt8(pool, args) },
    dispose: () => pool.dispose(),
  };
  return kernels;
}
