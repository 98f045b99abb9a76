import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { writeError } from '@q/durable-files';
import { createHolders, createSpare } from './held-parts.js';
import type { HostPart, StateStore } from './state-store.js';

/**
 * Keeps states in a file, so they take no memory. A part is written when it is stored, and read each time that it is
 * used. Both are synchronous, through the system's cache, because an activation is used in the middle of a computation.
 * @param path of the file that is made; it is removed when the last fork ends
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
