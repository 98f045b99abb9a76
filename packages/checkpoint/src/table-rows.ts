import { ShapeError, type Tensor, tensor, toF32, viewBytes } from '@q/core';
import type { ShardEntry, ShardReader } from '@q/safetensors';
import { refuseNotFinite } from './first-not-finite.js';

const dtypes = { F16: 'f16', BF16: 'bf16', F32: 'f32' } as const;

/** Bytes of a table in memory at a time: a few thousand rows. */
const chunkBytes = 4 * 2 ** 20;

/**
 * Some rows of a table that the files store as values, decoded to f32 `[rows.length, width]`. All rows are read, a
 * chunk at a time, and all values are checked, as in a table that is read whole.
 * @param rows rising
 * @returns undefined for tensors of other dtypes and shapes
 * @throws NumericError naming the first NaN or infinity of the table; ShapeError naming a row that it does not have
 */
export function storedRows(
  path: string,
  { readBytes }: ShardReader,
  entry: ShardEntry,
  rows: Int32Array,
): Promise<Tensor<'f32'>> | undefined {
  const { name, dtype: stored, shape } = entry;
  if ((stored !== 'F16' && stored !== 'BF16' && stored !== 'F32') || shape.length !== 2) return undefined;
  const dtype = dtypes[stored];
  const [count, width] = shape as [number, number];
  const read = async (): Promise<Tensor<'f32'>> => {
    checkRows(`${path}: tensor ${name}`, rows, count);
    const values = new Float32Array(rows.length * width);
    const rowBytes = width * (stored === 'F32' ? 4 : 2);
    const chunk = Math.min(count, Math.max(1, Math.floor(chunkBytes / rowBytes)));
    const buffer = new Uint8Array(chunk * rowBytes);
    let next = 0;
    for (let first = 0; first < count; first += chunk) {
      const end = Math.min(first + chunk, count);
      const bytes = await readBytes(name, first * rowBytes, end * rowBytes, buffer);
      refuseNotFinite(path, entry, bytes, first * width);
      for (; next < rows.length && rows[next] < end; next++) {
        const from = (rows[next] - first) * rowBytes;
        const row = viewBytes(dtype, bytes.subarray(from, from + rowBytes));
        values.set(toF32(tensor(dtype, [width], row)), next * width);
      }
    }
    return tensor('f32', [rows.length, width], values);
  };
  return read();
}

/**
 * Rows of a table `[count, width]`, copied to `[rows.length, width]`.
 * @throws ShapeError naming a row that the table does not have
 */
export function takeRows({ shape, data }: Tensor<'f32'>, rows: Int32Array): Tensor<'f32'> {
  const [count, width] = shape as [number, number];
  checkRows('a table', rows, count);
  const values = new Float32Array(rows.length * width);
  for (const [at, row] of rows.entries()) values.set(data.subarray(row * width, (row + 1) * width), at * width);
  return tensor('f32', [rows.length, width], values);
}

function checkRows(what: string, rows: Int32Array, count: number): void {
  const bad = rows.find((row) => row < 0 || row >= count);
  if (bad !== undefined) throw new ShapeError(`${what} has ${count} rows, and row ${bad} was requested`);
}
