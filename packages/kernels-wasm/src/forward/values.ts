import { elementCount, QuantError } from '@q/core';
import { blockDepth, panelColumns } from '../matmul.js';
import type { Pool } from '../pool.js';
import type { Heap } from './heap.js';
import type { PackedMatrix } from './packed-matrix.js';

/** Memory that values share: a reshaped value is the same memory with another shape. */
interface Buffer {
  /** Address of the row-major matrix; 0 while a weight exists in panels only. */
  rows: number;
  owners: number;
  /** For values that grow ({@link Values.grown}): how many f32 values the memory can hold, and how many are in use. */
  growth?: { readonly capacity: number; taken: number };
  /** Panels of the same matrix ({@link Panels}). */
  panels?: Panels;
  /** A weight that was never f32; it has neither rows nor panels. */
  packed?: PackedMatrix;
}

/** A matrix `[n, k]` as the second operand of a product, in the layout of `packB` of `assembly/matmul.ts`. */
interface Panels {
  readonly address: number;
  readonly n: number;
  readonly k: number;
}

/** A value of a forward pass: f32 in the pool's memory, row-major. */
export interface Value {
  readonly shape: readonly number[];
  readonly count: number;
  readonly buffer: Buffer;
}

/** Makes and frees values. A value that is made in a scope and not returned from it is freed at the scope's end. */
export interface Values {
  make(shape: readonly number[]): Value;
  /** A weight that stays as it is stored. */
  packed(matrix: PackedMatrix): Value;
  /** Writes a row of a matrix `[rows, columns]` to `into`, for rows, panels and packed weights. */
  row(value: Value, index: number, into: Float32Array): void;
  alias(value: Value, shape: readonly number[]): Value;
  /**
   * A value of `shape` that begins with the data of `value`; the caller writes the rest. It shares the memory of
   * `value` if no other value uses the memory after `value`, so a sequence of keys is not copied for every token.
   */
  grown(value: Value, shape: readonly number[]): Value;
  /** Address of the value, row-major. */
  address(value: Value): number;
  read(value: Value): Float32Array;
  /** Replaces the rows with panels. The rows are computed again if a caller needs them. */
  setPanels(value: Value, panels: Panels): void;
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
    if (buffer.rows !== 0) heap.free(buffer.rows);
    if (buffer.panels) heap.free(buffer.panels.address);
    buffer.packed?.dispose();
  };

  const floats = (at: number, count: number) => new Float32Array(pool.memory.buffer, at, count);

  const address = ({ buffer, count, shape }: Value): number => {
    if (buffer.packed)
      throw new QuantError(
        `the packed weight [${shape}] has only products and row look-ups; no other operation can read it`,
      );
    if (buffer.rows === 0) {
      const panels = buffer.panels as Panels;
      buffer.rows = heap.allocate(4 * count);
      unpack(floats(panels.address, paddedRows(panels) * panels.k), panels, floats(buffer.rows, count));
    }
    return buffer.rows;
  };

  return {
    make(shape) {
      const count = elementCount(shape);
      // A multiple of 64 bytes, because kernels may write whole vectors beyond the end.
      return enter({ shape, count, buffer: { rows: heap.allocate(4 * count), owners: 1 } });
    },
    packed: (matrix) =>
      enter({
        shape: [matrix.outFeatures, matrix.inFeatures],
        count: matrix.outFeatures * matrix.inFeatures,
        buffer: { rows: 0, owners: 1, packed: matrix },
      }),
    row({ shape, buffer }, index, into) {
      const columns = shape[1];
      if (buffer.packed) buffer.packed.row(index, into);
      else if (buffer.rows !== 0) into.set(floats(buffer.rows + 4 * index * columns, columns));
      else {
        const panels = buffer.panels as Panels;
        unpackRow(floats(panels.address, paddedRows(panels) * panels.k), panels, index, into);
      }
    },
    alias(value, shape) {
      value.buffer.owners++;
      return enter({ shape, count: value.count, buffer: value.buffer });
    },
    grown(value, shape) {
      const count = elementCount(shape);
      const { growth } = value.buffer;
      if (growth && growth.taken === value.count && count <= growth.capacity) {
        growth.taken = count;
        value.buffer.owners++;
        return enter({ shape, count, buffer: value.buffer });
      }
      // A quarter more than is needed now, so all copies add up to at most 4 times the final length.
      const capacity = Math.ceil(1.25 * count);
      const rows = heap.allocate(4 * capacity);
      floats(rows, value.count).set(floats(address(value), value.count));
      return enter({ shape, count, buffer: { rows, owners: 1, growth: { capacity, taken: count } } });
    },
    address,
    read: (value) => floats(address(value), value.count),
    setPanels({ buffer }, panels) {
      buffer.panels = panels;
      heap.free(buffer.rows);
      buffer.rows = 0;
    },
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

const paddedRows = ({ n }: Panels) => Math.ceil(n / panelColumns) * panelColumns;

function unpack(from: Float32Array, panels: Panels, to: Float32Array): void {
  for (let row = 0; row < panels.n; row++)
    unpackRow(from, panels, row, to.subarray(row * panels.k, (row + 1) * panels.k));
}

function unpackRow(from: Float32Array, panels: Panels, row: number, to: Float32Array): void {
  const { k } = panels;
  for (let start = 0; start < k; start += blockDepth) {
    const depth = Math.min(blockDepth, k - start);
    const panel = paddedRows(panels) * start + (row - (row % panelColumns)) * depth + (row % panelColumns);
    for (let p = 0; p < depth; p++) to[start + p] = from[panel + p * panelColumns];
  }
}
