import { QuantError } from '@q/core';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/** The part of tfjs's `BackendWasm` that this package uses. The package's own types hide the heap. */
export interface WasmBackend {
  readonly wasm: {
    _malloc(bytes: number): number;
    cwrap(name: string, result: null, args: readonly string[]): (...args: unknown[]) => void;
    readonly tfjs: {
      registerTensor(id: number, size: number, offset: number): void;
      disposeData(id: number): void;
    };
  };
  readonly dataIdMap: { get(dataId: object): { id: number; memoryOffset: number } };
  dataIdNextNumber: number;
  makeOutput(shape: readonly number[], dtype: 'float32'): TensorInfo;
  typedArrayFromHeap(info: TensorInfo): Float32Array;
  disposeData(dataId: object): boolean;
}

const guarded = new WeakSet<object>();

/**
 * Throws an error when the heap is full. The backend takes the null pointer of a failed `_malloc` for an address and
 * writes from there, so results are wrong and no error is reported.
 */
export function guardAllocation(backend: WasmBackend): void {
  const { wasm } = backend;
  if (guarded.has(wasm)) return;
  guarded.add(wasm);
  const malloc = wasm._malloc.bind(wasm);
  wasm._malloc = (bytes) => {
    const offset = malloc(bytes);
    if (offset === 0 && bytes > 0) {
      throw new QuantError(
        `the wasm backend cannot allocate another ${bytes} bytes: use a smaller batch, shorter windows, or the node backend`,
      );
    }
    return offset;
  };
}

/**
 * Replaces a wasm kernel with another function. The new function gets the old one, for the cases that it does not
 * handle.
 */
export function replaceKernel(tf: Tfjs, kernelName: string, make: (fallback: KernelFunc) => KernelFunc): void {
  const config = tf.getKernel(kernelName, 'wasm');
  tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({ ...config, kernelFunc: make(config.kernelFunc) });
}
