import type { GptqBlockArgs } from '@q/core';
import { type Gpu, linearWorkgroups } from '../device/gpu.js';
import { gptqSweep, sweepInvocations, sweepStrip } from '../wgsl/gptq-sweep.js';
import { ranges, sliceRows } from './slices.js';

/** The column sweep, rows in parts that fit a binding. Losses are f32 sums within the block, added in f64. */
export async function gptqBlock(gpu: Gpu, args: GptqBlockArgs): Promise<void> {
  const {
    rows,
    columns,
    weight,
    feedback,
    factor,
    scales,
    zeros,
    groups,
    group,
    grid,
    order,
    codes,
    difference,
    loss,
  } = args;
  const { buffers } = gpu;
  if (rows === 0 || columns === 0) return;
  const stride = Math.ceil(columns / sweepStrip) * sweepStrip;
  const source = gptqSweep(grid);
  const shared = [buffers.upload(factor, 'gptq factor'), buffers.upload(group, 'gptq groups')];
  try {
    for (const range of ranges(rows, buffers.largest / Math.max(4 * stride, 8 * groups))) {
      const { start, size } = range;
      const pairs = new Float32Array(2 * size * groups);
      for (let i = 0, at = start * groups; i < size * groups; i++, at++) {
        pairs[2 * i] = scales[at];
        pairs[2 * i + 1] = zeros[at];
      }
      const own = [
        buffers.upload(inOrder(sliceRows(weight, columns, range), columns, order), 'gptq weight'),
        buffers.upload(
          feedback ? sliceRows(feedback, columns, range) : new Float32Array(size * columns),
          'gptq feedback',
        ),
        buffers.upload(pairs, 'gptq scales'),
        buffers.create(size * stride, 'gptq codes'),
        buffers.create(4 * size * columns, 'gptq differences'),
        buffers.create(4 * size, 'gptq loss'),
      ];
      const [d, f, s, c, transposed, l] = own;
      try {
        const parameters = { rows: size, columns, groups, words: stride / 4 };
        const storage = [d, f, shared[0], s, shared[1], c, transposed, l];
        const found = new Float32Array(size * columns);
        await gpu.run([await gpu.prepare(source, parameters, storage, linearWorkgroups(gpu, size, sweepInvocations))], {
          from: d,
          into: found,
        });
        for (let row = 0; row < size; row++)
          for (let j = 0; j < columns; j++) difference[j * rows + start + row] = found[row * columns + j];
        const bytes = await gpu.read(c, new Uint8Array(size * stride));
        for (let row = 0; row < size; row++) {
          const [from, to] = [row * stride, (start + row) * columns];
          if (order) for (let j = 0; j < columns; j++) codes[to + order[j]] = bytes[from + j];
          else codes.set(bytes.subarray(from, from + columns), to);
        }
        const losses = await gpu.read(l, new Float32Array(size));
        for (let row = 0; row < size; row++) loss[start + row] += losses[row];
      } finally {
        buffers.free(...own);
      }
    }
  } finally {
    buffers.free(...shared);
  }
}

/** Rows with column j taken from `order[j]`. */
function inOrder(x: Float32Array, columns: number, order: Int32Array | undefined): Float32Array {
  if (!order) return x;
  const out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += columns)
    for (let j = 0; j < columns; j++) out[start + j] = x[start + order[j]];
  return out;
}
