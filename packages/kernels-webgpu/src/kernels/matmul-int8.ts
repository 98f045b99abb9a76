import { type MatmulInt8Args, ShapeError } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { int8Product } from '../wgsl/int8-product.js';
import { tileWorkgroups } from '../wgsl/tile-product.js';
import { type Range, ranges } from './slices.js';

/** Rows of bytes, each padded with zeros to whole words. */
export function paddedRows(x: Int8Array, columns: number, { start, size }: Range): Int8Array {
  const stride = Math.ceil(columns / 4) * 4;
  if (stride === columns) return x.subarray(start * columns, (start + size) * columns);
  const out = new Int8Array(size * stride);
  for (let row = 0; row < size; row++) {
    out.set(x.subarray((start + row) * columns, (start + row + 1) * columns), row * stride);
  }
  return out;
}

/** Exact for k < 2^17, as the contract requires. Operands larger than a binding are uploaded in parts of rows. */
export async function matmulInt8(gpu: Gpu, args: MatmulInt8Args): Promise<Int32Array> {
  const { a, b, m, n, k } = args;
  const out = args.out ?? new Int32Array(m * n);
  if (a.length < m * k || b.length < n * k || out.length < m * n) {
    throw new ShapeError(
      `an int8 product of ${m} x ${k} x ${n} needs ${m * k}, ${n * k} and ${m * n} values, got ${a.length}, ${b.length} and ${out.length}`,
    );
  }
  if (m === 0 || n === 0) return out;
  if (k === 0) return out.fill(0);
  const words = Math.ceil(k / 4);
  const source = int8Product({ packedDot: gpu.capabilities.packedDot, output: 'i32', tile: gpu.shapes.dense });
  const columnParts = ranges(n, gpu.buffers.largest / 4 / words);
  const rowParts = ranges(m, gpu.buffers.largest / 4 / Math.max(words, columnParts[0].size));
  for (const columns of columnParts) {
    const right = gpu.buffers.upload(paddedRows(b, k, columns), 'int8 b');
    try {
      for (const rows of rowParts) {
        const left = gpu.buffers.upload(paddedRows(a, k, rows), 'int8 a');
        const sum = gpu.buffers.create(4 * rows.size * columns.size, 'int8 c');
        try {
          const parameters = { m: rows.size, n: columns.size, words };
          const workgroups = tileWorkgroups(rows.size, columns.size, gpu.shapes.dense);
          await gpu.run([await gpu.prepare(source, parameters, [left, right, sum], workgroups)]);
          const part = await gpu.read(sum, new Int32Array(rows.size * columns.size));
          for (let row = 0; row < rows.size; row++) {
            const line = part.subarray(row * columns.size, (row + 1) * columns.size);
            out.set(line, (rows.start + row) * n + columns.start);
          }
        } finally {
          gpu.buffers.free(left, sum);
        }
      }
    } finally {
      gpu.buffers.free(right);
    }
  }
  return out;
}
