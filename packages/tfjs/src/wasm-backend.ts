import { QuantError } from '@q/core';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/** What this package uses of tfjs's `BackendWasm`, whose own types hide the heap. */
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
 * Makes a full heap an error. The backend takes the null pointer of a failed `_malloc` for an address and goes on
 * writing from there, which gives wrong numbers without a word.
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
        `the wasm backend has no room for another ${bytes} bytes: use a smaller batch, shorter windows, or the node backend`,
      );
    }
    return offset;
  };
}

/** Puts another function in the place of a wasm kernel, which gets the old one for the cases that it leaves alone. */
export function replaceKernel(tf: Tfjs, kernelName: string, make: (fallback: KernelFunc) => KernelFunc): void {
  const config = tf.getKernel(kernelName, 'wasm');
  tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({ ...config, kernelFunc: make(config.kernelFunc) });
}
