import type { ObservedBytes } from '@q/core';
import type { DataId, Tensor } from '@tensorflow/tfjs-core';
import type { Tfjs } from './handle.js';

/** The functions of tfjs's engine that create and release values. */
interface TrackingEngine {
  readonly state: { readonly numBytes: number; readonly tensorInfo: WeakMap<DataId, { readonly bytes: number }> };
  trackTensor(tensor: Tensor, ...rest: unknown[]): void;
  removeDataId(dataId: DataId, ...rest: unknown[]): void;
}

/**
 * Counts the bytes of data at every allocation and release. A training step has most bytes allocated in the middle of
 * its backward pass, where no caller of tfjs can read a count. `tf.memory().numBytes` counts a value again for each of
 * its clones and reshapes, and `tf.profile` waits for every kernel and keeps a record of it. On tfjs-node a reshape
 * counts as new data, although it is not.
 * @param staying bytes of values that stay on the engine; they are not counted
 */
export async function observeBytes<R>(
  tf: Tfjs,
  work: () => Promise<R>,
  staying: () => number,
): Promise<ObservedBytes<R>> {
  const engine = tf.engine() as unknown as TrackingEngine;
  const { trackTensor, removeDataId } = engine;
  const before = engine.state.numBytes - staying();
  let bytes = engine.state.numBytes;
  let peak = before;
  const sizeOf = (dataId: DataId) => engine.state.tensorInfo.get(dataId)?.bytes ?? 0;
  engine.trackTensor = (tensor, ...rest) => {
    const known = engine.state.tensorInfo.has(tensor.dataId);
    trackTensor.call(engine, tensor, ...rest);
    if (!known) bytes += sizeOf(tensor.dataId);
    peak = Math.max(peak, bytes - staying());
  };
  engine.removeDataId = (dataId, ...rest) => {
    bytes -= sizeOf(dataId);
    removeDataId.call(engine, dataId, ...rest);
  };
  try {
    const result = await work();
    return { result, before, peak };
  } finally {
    Object.assign(engine, { trackTensor, removeDataId });
  }
}
