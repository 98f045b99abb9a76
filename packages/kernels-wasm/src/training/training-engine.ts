import type { Engine } from '@q/core';
import { createElementwise } from '../forward/elementwise.js';
import type { ForwardValue } from '../forward/forward-engine.js';
import { createHeap } from '../forward/heap.js';
import { createForwardOps } from '../forward/ops.js';
import { createValues, type Value } from '../forward/values.js';
import { createPool, defaultThreads } from '../pool.js';
import type { WasmKernelOptions } from '../wasm-kernels.js';
import { createTrainingOps } from './training-ops.js';

/** An engine that also reports its memory. */
export interface WasmTrainingEngine extends Engine<ForwardValue> {
  /** Values alive, and bytes of the memory in use, packed weights and position tables included. */
  memory(): { readonly values: number; readonly bytes: number };
}

/**
 * The forward engine with gradients: forward and backward passes run wholly in one shared WebAssembly memory, on all
 * threads. Results do not depend on the number of threads.
 * @throws Error when the platform has no WebAssembly SIMD and threads
 */
export async function createTrainingEngine(options: WasmKernelOptions = {}): Promise<WasmTrainingEngine> {
  const pool = await createPool({ threads: options.threads ?? (await defaultThreads()), simd: options.simd ?? 'auto' });
  const heap = createHeap(pool);
  const values = createValues(pool, heap);
  const elementwise = createElementwise(pool, values);
  const forward = createForwardOps(pool, heap, values, elementwise);
  const ops = createTrainingOps(pool, heap, values, elementwise, forward) satisfies Engine<Value>['ops'];
  return {
    name: pool.simd === 'relaxed' ? 'wasm-relaxed' : 'wasm-simd128',
    ops: ops as unknown as Engine<ForwardValue>['ops'],
    notes: [],
    independentSequences: true,
    memory: () => ({ values: values.alive, bytes: heap.used }),
    async observeBytes(work) {
      const before = heap.counted;
      heap.resetPeak();
      const result = await work();
      return { result, before, peak: heap.peak };
    },
    dispose: () => pool.dispose(),
  };
}
