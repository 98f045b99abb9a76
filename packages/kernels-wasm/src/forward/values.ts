import { elementCount } from '@q/core';
import type { Pool } from '../pool.js';
import type { Heap } from './heap.js';

/** Memory that values share: a reshaped value is the same memory under another shape. */
interface Buffer {
  readonly address: number;
  owners: number;
  /** The same matrix in panels, made when it is first multiplied with. */
  panels?: number;
}

/** A value of a forward pass: f32 in the pool's memory, row-major. */
export interface Value {
  readonly shape: readonly number[];
  readonly count: number;
  readonly buffer: Buffer;
}

/** Makes and frees values; those made in a scope and not returned from it are freed at its end. */
export interface Values {
  make(shape: readonly number[]): Value;
  alias(value: Value, shape: readonly number[]): Value;
  read(value: Value): Float32Array;
  scope<R>(f: () => R): R;
  keep(value: Value): void;
  dispose(value: Value): void;
  readonly alive: number;
}

export function createValues(pool: Pool, heap: Heap): Values {
  const scopes: Set<Value>[] = [];
  const living = new Set<Value>();

  const enter = (value: Value): Value => {
    living.add(value);
    scopes.at(-1)?.add(value);
    return value;
  };

  const dispose = (value: Value): void => {
    if (!living.delete(value)) return;
    for (const scope of scopes) scope.delete(value);
    const { buffer } = value;
    if (--buffer.owners > 0) return;
    heap.free(buffer.address);
    if (buffer.panels !== undefined) heap.free(buffer.panels);
  };

  return {
    make(shape) {
      const count = elementCount(shape);
      // A whole number of 64 bytes: kernels may write vectors beyond the end.
      return enter({ shape, count, buffer: { address: heap.allocate(4 * count), owners: 1 } });
    },
    alias(value, shape) {
      value.buffer.owners++;
      return enter({ shape, count: value.count, buffer: value.buffer });
    },
    read: ({ buffer, count }) => new Float32Array(pool.memory.buffer, buffer.address, count),
    scope(f) {
      const made = new Set<Value>();
      scopes.push(made);
      let result: ReturnType<typeof f>;
      try {
        result = f();
      } catch (error) {
        scopes.pop();
        for (const value of made) dispose(value);
        throw error;
      }
      scopes.pop();
      const returned = new Set<unknown>(
        living.has(result as Value) ? [result] : result instanceof Object ? Object.values(result) : [],
      );
      for (const value of made) {
        if (returned.has(value)) scopes.at(-1)?.add(value);
        else dispose(value);
      }
      return result;
    },
    keep(value) {
      for (const scope of scopes) scope.delete(value);
    },
    dispose,
    get alive() {
      return living.size;
    },
  };
}
