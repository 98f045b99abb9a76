import { type HadamardArgs, type MatmulInt8Args, ShapeError } from '@q/core';
import type { Pool } from './pool.js';

/**
 * Walsh-Hadamard transform. It does the same operations in the same order as the reference, so results have the same
 * bits.
 */
export function hadamard(pool: Pool, { x, rows, columns, size }: HadamardArgs): void {
  if (size < 1 || (size & (size - 1)) !== 0 || columns % size !== 0) {
    throw new ShapeError(`a Hadamard transform of size ${size} needs a power of two that divides ${columns} columns`);
  }
  pool.reset(4 * rows * columns + 65536);
  const shared = pool.f32(rows * columns);
  shared.set(x);
  pool.run(
    'hadamardRows',
    [shared.byteOffset, size, 1 / Math.sqrt(size)],
    (rows * columns) / size,
    Math.max(1, Math.floor(8192 / size)),
  );
  x.set(shared);
}

/** Exact int8 product through 16-bit lanes. */
export function matmulInt8(pool: Pool, { a, b, m, n, k, out = new Int32Array(m * n) }: MatmulInt8Args): Int32Array {
  const padded = Math.ceil(k / 8) * 8;
  pool.reset((m + n) * (k + 2 * padded) + 4 * m * n + 65536);
  const bytesA = pool.bytes(m * k);
  const bytesB = pool.bytes(n * k);
  bytesA.set(new Uint8Array(a.buffer, a.byteOffset, m * k));
  bytesB.set(new Uint8Array(b.buffer, b.byteOffset, n * k));
  const wideA = pool.bytes(2 * m * padded).byteOffset;
  const wideB = pool.bytes(2 * n * padded).byteOffset;
  const result = pool.bytes(4 * m * n);
  pool.run('widen', [bytesA.byteOffset, k, padded, wideA], m, 64);
  pool.run('widen', [bytesB.byteOffset, k, padded, wideB], n, 64);
  pool.run('int8Rows', [wideA, wideB, result.byteOffset, n, padded], m, 32);
  out.set(new Int32Array(result.buffer, result.byteOffset, m * n));
  return out;
}
