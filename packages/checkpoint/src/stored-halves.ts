import { type HalfMatrix, viewBytes } from '@q/core';
import type { ShardEntry, ShardReader } from '@q/safetensors';
import { refuseNotFinite } from './first-not-finite.js';

const dtypes = { F16: 'f16', BF16: 'bf16' } as const;

/**
 * A matrix that the files store in 16 bits; undefined for tensors of other dtypes and shapes. All rows are read into
 * one buffer, so rows are valid until the next call of `rows`.
 * @param path for messages
 * @throws NumericError from `rows`, naming the first NaN or infinity
 */
export function storedHalves(path: string, { readBytes }: ShardReader, entry: ShardEntry): HalfMatrix | undefined {
  const { name, dtype: stored, shape } = entry;
  if ((stored !== 'F16' && stored !== 'BF16') || shape.length !== 2) return undefined;
  const dtype = dtypes[stored];
  const [rows, columns] = shape as [number, number];
  let buffer = new Uint8Array(0);
  return {
    dtype,
    shape: [rows, columns],
    async rows(first, end) {
      const [from, to] = [2 * first * columns, 2 * end * columns];
      if (buffer.length < to - from) buffer = new Uint8Array(to - from);
      const bytes = await readBytes(name, from, to, buffer);
      const patterns = viewBytes(dtype, bytes) as Uint16Array;
      refuseNotFinite(path, entry, bytes, first * columns);
      return patterns;
    },
  };
}
