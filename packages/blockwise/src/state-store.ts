import { createHolders, createSpare } from './held-parts.js';

/** Values of a state that wait on the host. */
export interface HostPart {
  /** From a disk: valid until the part of this name of another state is read. */
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** Where the states of all batches wait between two stages. A part belongs to whoever holds it, and goes with the last one. */
export interface StateStore {
  /** An array to fill and give to `put` next; nothing when a new one is as good. */
  buffer(count: number): Float32Array | undefined;
  /** @param name of the part in its state. The caller holds the part. */
  put(name: string, data: Float32Array, shape: readonly number[]): HostPart;
  retain(part: HostPart): void;
  release(part: HostPart): void;
  /** The same store for another walk, which holds parts by itself and ends by itself. */
  fork(): StateStore;
  dispose(): void;
}

/** In memory. Arrays are used again: fresh memory costs more than what is copied into it. */
export function memoryStates(): StateStore {
  const spare = createSpare<Float32Array>();
  const holders = createHolders(({ data }) => spare.give(data.length, data));
  const store: StateStore = {
    buffer: spare.take,
    put(_name, data, shape) {
      const part = { data, shape };
      holders.retain(part);
      return part;
    },
    ...holders,
    fork: () => store,
    dispose() {},
  };
  return store;
}
