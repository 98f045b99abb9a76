import { decodeF16, encodeF16, NumericError, type Tensor, tensor } from '@q/core';
import type { Checkpoint } from './checkpoint.js';

/**
 * A checkpoint that gives values of rounded matrices as f16. A folder made of a Q4_1 file of SmolLM2-135M has its table
 * of embeddings in 57 instead of 113 MB. An f16 is within 0.05 % of each value, and Q8_0 is within 0.4 % of the largest
 * in a group.
 * @param keeps whether a tensor is written as it is; the others stay f32
 */
export function keptAsHalves(checkpoint: Checkpoint, keeps: (name: string) => boolean): Checkpoint {
  const narrow = new Set<string>();
  const tensors = new Map(checkpoint.tensors);
  for (const [name, entry] of checkpoint.tensors) {
    const { dtype, shape, begin, end } = entry;
    const stored = checkpoint.storedBytes?.get(name);
    // Vectors and matrices that the source has in f32 stay in f32.
    if (stored === undefined || stored >= end - begin || dtype !== 'F32' || shape.length < 2 || !keeps(name)) continue;
    narrow.add(name);
    tensors.set(name, { ...entry, dtype: 'F16', begin: 0, end: (end - begin) / 2 });
  }
  if (narrow.size === 0) return checkpoint;
  const halvesOf = (name: string, values: Float32Array, first: number): Uint16Array => {
    const halves = encodeF16(values);
    const index = halves.findIndex((half, i) => (half & 0x7fff) === 0x7c00 && Number.isFinite(values[i]));
    if (index >= 0)
      throw new NumericError(
        `${checkpoint.path}: tensor ${name} has ${values[index]} at element ${first + index}, more than the 65504 of f16, in which it would be written: quantize it too, or start from the original model`,
      );
    return halves;
  };
  /** Whether a tensor, or the one that it is tied to, is written in f16. */
  const isNarrow = (name: string) =>
    narrow.has(checkpoint.tensors.has(name) ? name : (checkpoint.model?.ties.get(name) ?? name));
  const rounded = (name: string, { shape, data }: Tensor<'f32'>) =>
    tensor('f32', shape, decodeF16(halvesOf(name, data, 0)));
  return {
    ...checkpoint,
    tensors,
    async read(name) {
      const read = await checkpoint.read(name);
      return narrow.has(name) ? tensor('f16', read.shape, halvesOf(name, read.data as Float32Array, 0)) : read;
    },
    async readBytes(name, start = 0, end) {
      if (!narrow.has(name)) return checkpoint.readBytes(name, start, end);
      const bytes = await checkpoint.readBytes(name, 2 * start, end === undefined ? undefined : 2 * end);
      const values = new Float32Array(bytes.slice().buffer);
      const { buffer, byteOffset, byteLength } = halvesOf(name, values, start / 2);
      return new Uint8Array(buffer, byteOffset, byteLength);
    },
    async weight(name, into) {
      return isNarrow(name) ? rounded(name, await checkpoint.weight(name)) : checkpoint.weight(name, into);
    },
    async rows(name, rows) {
      return isNarrow(name) ? rounded(name, await checkpoint.rows(name, rows)) : checkpoint.rows(name, rows);
    },
    halves: (name) => (isNarrow(name) ? undefined : checkpoint.halves(name)),
  };
}
