import { ShapeError } from '@q/core';
import { type Gpu, linearWorkgroups } from '../device/gpu.js';
import { quantizeGroups, quantizeInvocations } from '../wgsl/quantize-groups.js';
import { ranges, sliceRows } from './slices.js';

export interface QuantizeGroupsArgs {
  /** `[rows, columns]` */
  readonly x: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly bits: number;
  /** Consecutive columns that share a scale; the last group of a row may be shorter. */
  readonly groupSize: number;
  /** `[rows, ceil(columns / groupSize)]` */
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
}

/** Unsigned codes `[rows, columns]`, one a byte: `clamp(roundHalfEven(x / scale + zero), 0, 2^bits - 1)`. */
export async function gpuQuantizeGroups(gpu: Gpu, args: QuantizeGroupsArgs): Promise<Uint8Array> {
  const { x, rows, columns, bits, groupSize, scales, zeros } = args;
  const groups = Math.ceil(columns / groupSize);
  if (x.length !== rows * columns || scales.length !== rows * groups || zeros.length !== scales.length) {
    throw new ShapeError(
      `quantizing [${rows}, ${columns}] in groups of ${groupSize} needs ${rows * columns} values and ${rows * groups} scales and zeros, got ${x.length}, ${scales.length} and ${zeros.length}`,
    );
  }
  if (!(Number.isInteger(bits) && bits >= 1 && bits <= 8)) throw new ShapeError(`codes have 1 to 8 bits, got ${bits}`);
  const { buffers } = gpu;
  const out = new Uint8Array(rows * columns);
  const words = Math.ceil(columns / 4);
  for (const range of ranges(rows, buffers.largest / Math.max(4 * columns, 8 * groups, 4 * words))) {
    const { start, size } = range;
    const pairs = new Float32Array(2 * size * groups);
    for (let i = 0, at = start * groups; i < size * groups; i++, at++) {
      pairs[2 * i] = scales[at];
      pairs[2 * i + 1] = zeros[at];
    }
    const storage = [
      buffers.upload(sliceRows(x, columns, range), 'values to quantize'),
      buffers.upload(pairs, 'scales'),
      buffers.create(4 * size * words, 'codes'),
    ];
    try {
      const parameters = { rows: size, columns, words, group_size: groupSize, groups, largest: 2 ** bits - 1 };
      const workgroups = linearWorkgroups(gpu, size * words, quantizeInvocations);
      await gpu.run([await gpu.prepare(quantizeGroups(), parameters, storage, workgroups)]);
      const found = await gpu.read(storage[2], new Uint8Array(4 * size * words));
      for (let row = 0; row < size; row++) {
        out.set(found.subarray(4 * row * words, 4 * row * words + columns), (start + row) * columns);
      }
    } finally {
      buffers.free(...storage);
    }
  }
  return out;
}
