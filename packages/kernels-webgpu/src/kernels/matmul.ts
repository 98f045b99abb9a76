import { type MatmulArgs, ShapeError } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { denseOperand, tileProduct, tileWorkgroups } from '../wgsl/tile-product.js';
import { type Range, ranges, sliceColumns, sliceRows } from './slices.js';

/**
 * Dense f32 product. Operands larger than a binding are uploaded in parts: rows of `op(a)` and columns of `op(b)`, each
 * at most the largest binding. So any shape works if a row of k values fits (33 million at the default 128 MiB).
 */
export async function matmul(gpu: Gpu, args: MatmulArgs): Promise<Float32Array> {
  const { a, b, m, n, k, transposeA = false, transposeB = false, accumulate = false } = args;
  const out = args.out ?? new Float32Array(m * n);
  if (a.length < m * k || b.length < k * n || out.length < m * n) {
    throw new ShapeError(
      `a product of ${m} x ${k} x ${n} needs ${m * k}, ${k * n} and ${m * n} values, got ${a.length}, ${b.length} and ${out.length}`,
    );
  }
  if (m === 0 || n === 0) return out;
  if (k === 0) return accumulate ? out : out.fill(0);
  const values = gpu.buffers.largest / 4;
  const columnParts = ranges(n, values / k);
  const widest = columnParts[0].size;
  const rowParts = ranges(m, Math.min(values / k, values / widest));
  const source = tileProduct({
    label: `matmul${transposeA ? ' A^T' : ''}${transposeB ? ' B^T' : ''}`,
    a: denseOperand('a', 'm', { transposed: transposeA, vector: k % 4 === 0 }),
    b: denseOperand('b', 'n', { transposed: !transposeB, vector: k % 4 === 0 }),
    accumulate,
    tile: gpu.shapes.dense,
  });
  for (const columns of columnParts) {
    const partOfB = transposeB ? sliceRows(b, k, columns) : sliceColumns(b, k, n, columns);
    const right = gpu.buffers.upload(partOfB, 'matmul b');
    try {
      for (const rows of rowParts) {
        const partOfA = transposeA ? sliceColumns(a, k, m, rows) : sliceRows(a, k, rows);
        await part(rows, columns, partOfA, right);
      }
    } finally {
      gpu.buffers.free(right);
    }
  }
  return out;

  async function part(rows: Range, columns: Range, partOfA: Float32Array, right: GPUBuffer): Promise<void> {
    const size = rows.size * columns.size;
    const whole = columns.size === n;
    const before = accumulate ? sliceColumns(sliceRows(out, n, rows), rows.size, n, columns) : undefined;
    const left = gpu.buffers.upload(partOfA, 'matmul a');
    const sum = before ? gpu.buffers.upload(before, 'matmul c') : gpu.buffers.create(4 * size, 'matmul c');
    try {
      const parameters = { m: rows.size, n: columns.size, k, stride: columns.size, column0: 0 };
      const workgroups = tileWorkgroups(rows.size, columns.size, gpu.shapes.dense);
      const target = whole ? sliceRows(out, n, rows) : new Float32Array(size);
      const product = await gpu.prepare(source, parameters, [left, right, sum], workgroups);
      await gpu.run([product], { from: sum, into: target });
      if (whole) return;
      for (let row = 0; row < rows.size; row++) {
        const line = target.subarray(row * columns.size, (row + 1) * columns.size);
        out.set(line, (rows.start + row) * n + columns.start);
      }
    } finally {
      gpu.buffers.free(left, sum);
    }
  }
}
