import { type GptqBlockArgs, permuteColumns, restoreColumns } from '@q/core';
import { type Gpu, linearWorkgroups } from '../device/gpu.js';
import { gptqSweep, sweepInvocations, sweepStrip } from '../wgsl/gptq-sweep.js';
import { ranges, sliceRows } from './slices.js';

/**
 * The column sweep, with rows in parts that fit a binding. Losses are f32 sums within the block; blocks are added in
 * f64.
 */
export async function gptqBlock(gpu: Gpu, args: GptqBlockArgs): Promise<void> {
  const { rows, columns, weight, feedback, factor, scales, zeros, groups, group, grid, codes, difference, loss } = args;
  if (args.order) {
    const [weight, codes] = [permuteColumns(args.weight, args.rows, args.order), new Uint8Array(args.codes.length)];
    await gptqBlock(gpu, { ...args, order: undefined, weight, codes });
    args.codes.set(restoreColumns(codes, args.rows, args.order));
    return;
  }
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
        buffers.upload(sliceRows(weight, columns, range), 'gptq weight'),
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
        await gpu.run([await gpu.prepare(source, parameters, storage, linearWorkgroups(gpu, size, sweepInvocations))]);
        if (difference) {
          const found = await gpu.read(d, new Float32Array(size * columns));
          for (let row = 0; row < size; row++)
            for (let j = 0; j < columns; j++) difference[j * rows + start + row] = found[row * columns + j];
        }
        const bytes = await gpu.read(c, new Uint8Array(size * stride));
        for (let row = 0; row < size; row++) {
          codes.set(bytes.subarray(row * stride, row * stride + columns), (start + row) * columns);
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
