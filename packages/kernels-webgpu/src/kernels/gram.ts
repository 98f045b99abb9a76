import type { GramArgs } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { denseOperand, tileProduct, tileWorkgroups } from '../wgsl/tile-product.js';
import { ranges, sliceRows } from './slices.js';

/** Tokens that are summed in f32 before they are added to `out` in its precision. */
const tokensPerSum = 2048;

/** `out += x^T x`: tiles of the upper triangle alone, f32 sums over at most 2,048 tokens. */
export async function gram(gpu: Gpu, { x, tokens, width, out }: GramArgs): Promise<void> {
  if (tokens === 0 || width === 0) return;
  const source = tileProduct({
    label: 'gram',
    a: denseOperand('a', 'm', { transposed: true, vector: false }),
    b: {
      bindings: [],
      code: 'fn load_b(row: u32, k: u32) -> vec4f {\n  return load_a(row, k);\n}',
    },
    symmetric: true,
    tile: gpu.shapes.tile,
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
          await gpu.prepare(source, parameters, [rows, sum], tileWorkgroups(width, width, gpu.shapes.tile)),
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
