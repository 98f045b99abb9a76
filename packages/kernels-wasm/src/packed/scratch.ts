import type { Heap } from '../forward/heap.js';
import type { Pool } from '../pool.js';

/**
 * Outputs of a product: `[tokens, width]`, computed as `[rows, stride]`, whole panels wide and tiles of tokens high.
 */
interface OutputShape {
  readonly tokens: number;
  readonly width: number;
  readonly rows: number;
  readonly stride: number;
}

/** Memory of a pool that products use while they run. */
export interface Scratch {
  /** Runs `compute` with addresses of `sizes` bytes, and frees them. */
  during(sizes: readonly number[], compute: (...addresses: number[]) => void): void;
  /**
   * Runs `compute` with the address where it writes `[rows, stride]`, and brings `[tokens, width]` to `out`: the same
   * memory where the shapes are equal.
   */
  outputs(shape: OutputShape, out: number, compute: (y: number) => void): void;
  floats(address: number, count: number): Float32Array;
}

export function createScratch({ memory }: Pool, heap: Heap): Scratch {
  const floats = (address: number, count: number) => new Float32Array(memory.buffer, address, count);
  function during(sizes: readonly number[], compute: (...addresses: number[]) => void): void {
    const addresses: number[] = [];
    try {
      for (const size of sizes) addresses.push(heap.allocate(size));
      compute(...addresses);
    } finally {
      for (const at of addresses) heap.free(at);
    }
  }
  return {
    during,
    floats,
    outputs({ tokens, width, rows, stride }, out, compute) {
      if (rows === tokens && stride === width) {
        compute(out);
        return;
      }
      during([4 * rows * stride], (y) => {
        compute(y);
        const to = floats(out, tokens * width);
        for (let token = 0; token < tokens; token++) to.set(floats(y + 4 * token * stride, width), token * width);
      });
    },
  };
}
