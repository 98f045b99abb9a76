import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { writeError } from '@q/safetensors';

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
  /** The same store for another stream, which holds parts by itself and ends by itself. */
  fork(): StateStore;
  dispose(): void;
}

/** Counts holders, and calls `free` when the last one of a part has gone. */
function createHolders(free: (part: HostPart) => void) {
  const counts = new Map<HostPart, number>();
  return {
    retain: (part: HostPart) => counts.set(part, (counts.get(part) ?? 0) + 1),
    release(part: HostPart): void {
      const left = (counts.get(part) ?? 0) - 1;
      if (left > 0) counts.set(part, left);
      else if (counts.delete(part)) free(part);
    },
  };
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

/**
 * In a file, for states that are not to take memory: a part is written when it is put there and read each time that it is
 * looked at. All of that is synchronous, through the system's cache: an activation is looked at in the midst of a computation.
 * @param path made anew; removed when the last fork ends
 * @throws WriteError when the disk is full or not writable
 */
export function diskStates(path: string): StateStore {
  const file = attempt(path, () => openSync(path, 'w+'));
  const offsets = new WeakMap<HostPart, number>();
  const spare = createSpare<number>();
  const holders = createHolders((part) => spare.give(sizeOf(part), offsets.get(part) as number));
  let end = 0;
  let open = 0;

  function fork(): StateStore {
    open++;
    /** Reused for all parts of a length that are written, and of a name and length that are read. */
    const written = createBuffers();
    const readings = createBuffers();
    return {
      buffer: (count) => written(`${count}`, count),
      put(name, data, shape) {
        const count = data.length;
        let offset = spare.take(count);
        if (offset === undefined) {
          offset = end;
          end += data.byteLength;
        }
        attempt(path, () => transfer(writeSync, file, data, offset), data.byteLength);
        const part: HostPart = {
          shape,
          get data() {
            const into = readings(`${name} ${count}`, count);
            transfer(readSync, file, into, offset);
            return into;
          },
        };
        offsets.set(part, offset);
        holders.retain(part);
        return part;
      },
      ...holders,
      fork,
      dispose() {
        if (--open > 0) return;
        closeSync(file);
        rmSync(path, { force: true });
      },
    };
  }
  return fork();
}

const sizeOf = ({ shape }: HostPart): number => shape.reduce((count, side) => count * side, 1);

/** Things that are free again, by their size. */
function createSpare<T>() {
  const bySize = new Map<number, T[]>();
  return {
    take: (size: number): T | undefined => bySize.get(size)?.pop(),
    give(size: number, thing: T): void {
      const same = bySize.get(size);
      if (same) same.push(thing);
      else bySize.set(size, [thing]);
    },
  };
}

function createBuffers(): (key: string, count: number) => Float32Array {
  const buffers = new Map<string, Float32Array>();
  return (key, count) => {
    const found = buffers.get(key) ?? new Float32Array(count);
    buffers.set(key, found);
    return found;
  };
}

type Transfer = (file: number, bytes: Uint8Array, offset: number, length: number, position: number) => number;

/** All bytes of an array, however many the system takes at a time. */
function transfer(call: Transfer, file: number, { buffer, byteOffset, byteLength }: Float32Array, at: number): void {
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  for (let done = 0; done < byteLength; ) {
    const moved = call(file, bytes, done, byteLength - done, at + done);
    if (moved === 0) throw new Error(`the file of activations ends at ${at + done}: it was changed while it was used`);
    done += moved;
  }
}

function attempt<R>(path: string, act: () => R, bytes?: number): R {
  try {
    return act();
  } catch (error) {
    throw writeError(path, error, bytes);
  }
}
