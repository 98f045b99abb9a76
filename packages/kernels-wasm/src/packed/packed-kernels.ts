/**
 * Products with weights that stay packed in the pool's memory, and attention over packed caches.
 *
 * f32 inputs, up to 4 tokens: within a group `sum code x` in f32 (fused with relaxed SIMD; one token: four sums an output, joined at
 * the group's end), then `scale (sum - zero sum x)`, groups in order. More tokens: weights are dequantized to f32 and summed as
 * `matmul` does, so results are the bits of that product. int8 inputs: i32 within a group, exact, then f32 over groups.
 * Attention: f32, softmax with a running maximum over blocks of 64 positions. Results do not depend on the number of threads;
 * they differ between SIMD levels by rounding where sums are f32.
 */
import type { KvAttention, PackedProducts } from '@q/core';
import { createHeap } from '../forward/heap.js';
import { createPool, defaultThreads } from '../pool.js';
import type { WasmKernelOptions } from '../wasm-kernels.js';
import { kvAttention } from './kv-attention.js';
import { loadPackedLinear } from './packed-linear.js';

/** What decoding a quantized model needs, in one shared memory. */
export interface WasmPackedKernels extends PackedProducts {
  readonly kvAttention: KvAttention;
}

/**
 * Starts the kernels and their threads.
 * @throws Error when the platform has no WebAssembly SIMD and threads, or not the SIMD level asked for
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
