import { QuantError } from '@q/core';
import { heapStart, type Pool, pageBytes } from '../pool.js';

interface Span {
  start: number;
  end: number;
}

/** Allocates and frees pieces of a pool's memory, in multiples of 64 bytes; first fit. */
export interface Heap {
  /**
   * Allocates memory and returns its address.
   * @param stays marks memory that is never freed, such as tables of positions: it counts in `used` and not in
   *   `counted`
   * @throws QuantError when the 4 GiB of a WebAssembly memory are full
   */
  allocate(bytes: number, stays?: 'stays'): number;
  free(address: number): void;
  /** Allocated bytes. */
  readonly used: number;
  /** Allocated bytes, without those that are never freed. */
  readonly counted: number;
  /** The largest `counted` since `resetPeak`. */
  readonly peak: number;
  resetPeak(): void;
}

const alignment = 64;
/** The memory grows by at least this many bytes, because each growth maps pages in every thread. */
const growthBytes = 16 << 20;

export function createHeap({ memory }: Pool): Heap {
  /** Free spans by address; adjacent spans are joined. The last one ends at the memory's end. */
  const spans: Span[] = [{ start: heapStart, end: memory.buffer.byteLength }];
  const sizes = new Map<number, number>();
  let used = 0;
  let staying = 0;
  let peak = 0;

  function grow(bytes: number): void {
    const end = memory.buffer.byteLength;
    const pages = Math.ceil(Math.max(bytes, growthBytes) / pageBytes);
    try {
      memory.grow(pages);
    } catch {
      throw new QuantError(
        `the forward pass cannot allocate another ${bytes} bytes next to ${used}: use a smaller batch or shorter windows`,
      );
    }
    release({ start: end, end: end + pages * pageBytes });
  }

  function release(span: Span): void {
    let at = spans.findIndex(({ start }) => start > span.start);
    if (at < 0) at = spans.length;
    const before = spans[at - 1];
    const after = spans[at];
    if (before?.end === span.start) {
      before.end = span.end;
      if (after?.start === before.end) {
        before.end = after.end;
        spans.splice(at, 1);
      }
    } else if (after?.start === span.end) after.start = span.start;
    else spans.splice(at, 0, span);
  }

  return {
    allocate(bytes, stays) {
      const size = Math.max(alignment, Math.ceil(bytes / alignment) * alignment);
      let at = spans.findIndex(({ start, end }) => end - start >= size);
      if (at < 0) {
        grow(size);
        at = spans.findIndex(({ start, end }) => end - start >= size);
      }
      const span = spans[at];
      const address = span.start;
      span.start += size;
      if (span.start === span.end) spans.splice(at, 1);
      sizes.set(address, size);
      used += size;
      if (stays) staying += size;
      peak = Math.max(peak, used - staying);
      return address;
    },
    free(address) {
      const size = sizes.get(address);
      if (size === undefined) throw new Error(`nothing was allocated at ${address}`);
      sizes.delete(address);
      used -= size;
      release({ start: address, end: address + size });
    },
    get used() {
      return used;
    },
    get counted() {
      return used - staying;
    },
    get peak() {
      return peak;
    },
    resetPeak() {
      peak = used - staying;
    },
  };
}
