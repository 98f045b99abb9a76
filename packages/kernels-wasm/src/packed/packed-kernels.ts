/**
 * Products with weights that stay packed in the pool's memory, and attention over packed caches.
 *
 * f32 inputs, up to 4 tokens: `sum code x` within a group is f32 (fused with relaxed SIMD; one token: four sums an
 * output, joined at the group's end); then `scale (sum - zero sum x)` is added, groups in order. For more tokens,
 * weights are dequantized to f32 and summed as in `matmul`, so results have the bits of that product. int8 inputs: sums
 * within a group are exact in i32; sums over groups are f32. Attention: f32, softmax with a running maximum over blocks
 * of 64 positions. Results do not depend on the number of threads. f32 sums differ between SIMD levels by rounding.
 */
import type { KvAttention, PackedProducts } from '@q/core';
import { createHeap } from '../forward/heap.js';
import { createPool, defaultThreads } from '../pool.js';
import type { WasmKernelOptions } from '../wasm-kernels.js';
import { kvAttention } from './kv-attention.js';
import { loadPackedLinear } from './packed-linear.js';

/** The kernels that decoding with a quantized model needs, in one shared memory. */
export interface WasmPackedKernels extends PackedProducts {
  readonly kvAttention: KvAttention;
}

/**
 * Starts the kernels and their threads.
 * @throws Error when the platform has no WebAssembly SIMD and threads, or lacks the requested SIMD level
 */
export async function createPackedKernels(options: WasmKernelOptions = {}): Promise<WasmPackedKernels> {
  const pool = await createPool({ threads: options.threads ?? (await defaultThreads()), simd: options.simd ?? 'auto' });
  const heap = createHeap(pool);
  return {
    name: pool.simd === 'relaxed' ? 'wasm-relaxed' : 'wasm-simd128',
    threads: pool.threads,
    load: async (weight) => loadPackedLinear(pool, heap, weight),
    kvAttention: async (args) => kvAttention(pool, heap, args),
    dispose: () => pool.dispose(),
  };
}
