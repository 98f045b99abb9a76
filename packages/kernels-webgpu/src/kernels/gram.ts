import type { GramArgs } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { denseOperand, tileProduct, tileWorkgroups } from '../wgsl/tile-product.js';
import { matmul } from './matmul.js';
import { ranges, sliceColumns, sliceRows } from './slices.js';

/** Tokens that are summed in f32 before they are added to `out` in its precision. */
const tokensPerSum = 2048;

/** `out += x^T x`. Only tiles of the upper triangle are computed; f32 sums run over at most 2,048 tokens. */
export async function gram(gpu: Gpu, { x, tokens, width, out }: GramArgs): Promise<void> {
  if (tokens === 0 || width === 0) return;
  if (4 * width * width > gpu.buffers.largest) return wideGram(gpu, { x, tokens, width, out });
  const source = tileProduct({
    label: 'gram',
    a: denseOperand('a', 'm', { transposed: true, vector: false }),
    b: {
      bindings: [],
      code: 'fn load_b(row: u32, k: u32) -> vec4f {\n  return load_a(row, k);\n}',
    },
    symmetric: true,
    tile: gpu.shapes.dense,
  });
  const fitting = Math.min(tokensPerSum, gpu.buffers.largest / 4 / width);
  const sum = gpu.buffers.create(4 * width * width, `the Gram matrix of ${width} features`);
  try {
    const part = new Float32Array(width * width);
    for (const range of ranges(tokens, fitting)) {
      const rows = gpu.buffers.upload(sliceRows(x, width, range), 'gram x');
      try {
        const parameters = { m: width, n: width, k: range.size, stride: width, column0: 0 };
        await gpu.run([
          await gpu.prepare(source, parameters, [rows, sum], tileWorkgroups(width, width, gpu.shapes.dense)),
        ]);
        await gpu.read(sum, part);
      } finally {
        gpu.buffers.free(rows);
      }
      for (let i = 0; i < part.length; i++) out[i] += part[i];
    }
  } finally {
    gpu.buffers.free(sum);
  }
}

/**
 * The same for matrices larger than a binding (5,792 features at 128 MiB): parts of rows, each as a separate product.
 */
async function wideGram(gpu: Gpu, { x, tokens, width, out }: GramArgs): Promise<void> {
  for (const range of ranges(tokens, Math.min(tokensPerSum, gpu.buffers.largest / 4 / width))) {
    const part = sliceRows(x, width, range);
    for (const rows of ranges(width, gpu.buffers.largest / 4 / width)) {
      const a = sliceColumns(part, range.size, width, rows);
      const shape = { m: rows.size, n: width, k: range.size, transposeA: true };
      const sums = await matmul(gpu, { a, b: part, ...shape });
      for (let row = 0; row < rows.size; row++) {
        const i = rows.start + row;
        for (let j = i; j < width; j++) {
          const sum = sums[row * width + j];
          out[i * width + j] += sum;
          if (j > i) out[j * width + i] += sum;
        }
      }
    }
  }
}
