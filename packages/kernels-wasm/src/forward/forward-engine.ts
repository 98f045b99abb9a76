import type { ForwardEngine } from '@q/core';
import { loadHalfMatrix } from '../packed/half-matrix.js';
import { createPool, defaultThreads } from '../pool.js';
import type { WasmKernelOptions } from '../wasm-kernels.js';
import { createElementwise } from './elementwise.js';
import { createHeap } from './heap.js';
import { createForwardOps } from './ops.js';
import { loadPackedMatrix } from './packed-matrix.js';
import { createValues, type Value } from './values.js';

declare const valueBrand: unique symbol;

/** A value on the engine; opaque. */
export interface ForwardValue {
  readonly [valueBrand]: 'wasm';
}

/** An engine that also reports its memory. */
export interface WasmForwardEngine extends ForwardEngine<ForwardValue> {
  /** Values alive, and bytes of the memory in use, packed weights and position tables included. */
  memory(): { readonly values: number; readonly bytes: number };
}

/**
 * Runs forward passes wholly in one shared WebAssembly memory. No operation copies its operands, weights are packed
 * once, and every operation runs on all threads. It has no gradients. Results do not depend on the number of threads.
 * @throws Error when the platform has no WebAssembly SIMD and threads
 */
export async function createForwardEngine(options: WasmKernelOptions = {}): Promise<WasmForwardEngine> {
  const pool = await createPool({ threads: options.threads ?? (await defaultThreads()), simd: options.simd ?? 'auto' });
  const heap = createHeap(pool);
  const values = createValues(pool, heap);
  const ops = createForwardOps(
    pool,
    heap,
    values,
    createElementwise(pool, values),
  ) satisfies ForwardEngine<Value>['ops'];
  return {
    name: pool.simd === 'relaxed' ? 'wasm-relaxed' : 'wasm-simd128',
    ops: ops as unknown as ForwardEngine<ForwardValue>['ops'],
    notes: [],
    independentSequences: true,
    packedWeight: (weight) => values.packed(loadPackedMatrix(pool, heap, weight)) as unknown as ForwardValue,
    halfWeight: async (matrix) => values.packed(await loadHalfMatrix(pool, heap, matrix)) as unknown as ForwardValue,
    memory: () => ({ values: values.alive, bytes: heap.used }),
    dispose: () => pool.dispose(),
  };
}
