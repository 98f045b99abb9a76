import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';
import { replaceKernel, type WasmBackend } from './wasm-backend.js';

const installed = new WeakSet<Tfjs>();

/**
 * Replaces row gathers and splits on wasm with block copies inside the heap. The backend's gather computes an address
 * for every element (10 ms for 2,048 rows of 192 values; this one takes 0.3 ms). The backend's split makes two array
 * views for every row.
 */
export function installWasmCopies(tf: Tfjs): void {
  if (installed.has(tf)) return;
  installed.add(tf);
  replaceKernel(tf, 'GatherV2', (fallback) => (args) => {
    const { x, indices } = args.inputs as unknown as { x: TensorInfo; indices: TensorInfo };
    const { axis, batchDims } = args.attrs as unknown as { axis: number; batchDims: number };
    const simple = axis === 0 && batchDims === 0 && x.dtype === 'float32' && indices.shape.length === 1;
    return simple ? gatherRows(args.backend as WasmBackend, x, indices) : fallback(args);
  });
  replaceKernel(tf, 'SplitV', (fallback) => (args) => {
    const { x } = args.inputs as unknown as { x: TensorInfo };
    const { numOrSizeSplits, axis } = args.attrs as unknown as { numOrSizeSplits: number[] | number; axis: number };
    const simple = x.dtype === 'float32' && Array.isArray(numOrSizeSplits) && !numOrSizeSplits.includes(-1);
    return simple
      ? split(args.backend as WasmBackend, x, numOrSizeSplits, (axis + x.shape.length) % x.shape.length)
      : fallback(args);
  });
}

function gatherRows(backend: WasmBackend, x: TensorInfo, indices: TensorInfo): TensorInfo {
  const width = x.shape.slice(1).reduce((product, size) => product * size, 1);
  const out = backend.makeOutput([indices.shape[0]!, ...x.shape.slice(1)], 'float32');
  const ids = backend.typedArrayFromHeap(indices);
  const [values, from, to] = heapOf(backend, x, out);
  for (let row = 0; row < ids.length; row++) {
    const id = ids[row]!;
    if (!(id >= 0 && id < x.shape[0]!)) throw new Error(`gather: index ${id} is not in [0, ${x.shape[0]! - 1}]`);
    const start = from + id * width;
    values.copyWithin(to + row * width, start, start + width);
  }
  return out;
}

function split(backend: WasmBackend, x: TensorInfo, sizes: readonly number[], axis: number): TensorInfo[] {
  const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
  const outer = x.shape.slice(0, axis);
  const inner = x.shape.slice(axis + 1);
  const rows = count(outer);
  const stride = x.shape[axis]! * count(inner);
  let first = 0;
  return sizes.map((size) => {
    const out = backend.makeOutput([...outer, size, ...inner], 'float32');
    const width = size * count(inner);
    const [values, from, to] = heapOf(backend, x, out);
    for (let row = 0; row < rows; row++) {
      const start = from + row * stride + first;
      values.copyWithin(to + row * width, start, start + width);
    }
    first += width;
    return out;
  });
}

/**
 * The whole heap as f32, and the offsets of two tensors in it. Call this after every allocation, because a heap that
 * grows gets a new buffer.
 */
function heapOf(backend: WasmBackend, a: TensorInfo, b: TensorInfo): [Float32Array, number, number] {
  const start = (info: TensorInfo) => backend.dataIdMap.get(info.dataId).memoryOffset / Float32Array.BYTES_PER_ELEMENT;
  return [new Float32Array(backend.typedArrayFromHeap(a).buffer), start(a), start(b)];
}
