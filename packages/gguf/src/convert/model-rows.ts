import { type BlockSource, decodeBf16, decodeF16 } from '@q/core';
import type { ConversionSource, ModelTensor, StridedRows } from './conversion.js';

/** Sizes of a tensor as a matrix; a vector has rows of one value. */
export function matrixOf(shape: readonly number[]): { readonly rows: number; readonly columns: number } {
  const columns = shape.length > 1 ? shape[shape.length - 1] : 1;
  return { rows: shape.reduce((product, size) => product * size, 1) / columns, columns };
}

/** Reads the rows of one tensor of a file, in pieces. */
export interface RowReader {
  read(begin: number, end: number): Promise<BlockSource>;
}

/**
 * Reordered rows are read from a part of the source as a whole: they stay within a head, or within an expert. Each of several
 * stacked vectors is a row.
 */
export function openRows(source: ConversionSource, tensor: ModelTensor): RowReader {
  const { order, strided, plus, values, shape, from } = tensor;
  const { rows, columns } = matrixOf(shape);
  if (values)
    return { read: async (begin, end) => ({ dtype: 'f32', data: values.subarray(begin * columns, end * columns) }) };
  const sizes = from.map((name) => matrixOf(source.shapes.get(name) as readonly number[]));
  const count = sizes.reduce((sum, size) => sum + size.rows, 0);
  const taken = order?.length ?? count / (strided?.step ?? 1);
  const inRow = taken / rows;
  const inOrder = async (begin: number, end: number): Promise<BlockSource> => {
    const [first, last] = [begin * inRow, end * inRow];
    if (!order && !strided) return readParts(source, tensor, first, last);
    const places = order?.subarray(first, last) ?? everyRow(strided as StridedRows, first, last);
    const low = places.reduce((least, place) => Math.min(least, place), Number.POSITIVE_INFINITY);
    const high = places.reduce((most, place) => Math.max(most, place), 0) + 1;
    return gather(await readParts(source, tensor, low, high), places, low, sizes[0].columns);
  };
  if (plus === undefined) return { read: inOrder };
  return {
    async read(begin, end) {
      const data = floats(await inOrder(begin, end)).map((value) => value + plus);
      return { dtype: 'f32', data };
    },
  };
}

const everyRow = ({ step, first }: StridedRows, begin: number, end: number): Int32Array =>
  Int32Array.from({ length: end - begin }, (_, row) => first + step * (begin + row));

/** Values as f32. */
function floats({ dtype, data }: BlockSource): Float32Array {
  if (dtype === 'f32') return data;
  return dtype === 'f16' ? decodeF16(data) : decodeBf16(data);
}

/** Rows of tensors that follow each other. */
async function readParts(
  source: ConversionSource,
  { from }: ModelTensor,
  begin: number,
  end: number,
): Promise<BlockSource> {
  const parts: BlockSource[] = [];
  let first = 0;
  for (const name of from) {
    const { rows } = matrixOf(source.shapes.get(name) as readonly number[]);
    const [low, high] = [Math.max(begin, first), Math.min(end, first + rows)];
    if (low < high) parts.push(await source.rows(name, low - first, high - first));
    first += rows;
  }
  return parts.length === 1 ? parts[0] : join(parts);
}

function join(parts: readonly BlockSource[]): BlockSource {
  const alike = parts.every(({ dtype }) => dtype === parts[0].dtype);
  const arrays = alike ? parts.map(({ data }) => data) : parts.map(floats);
  const length = arrays.reduce((sum, array) => sum + array.length, 0);
  if (alike && parts[0].dtype !== 'f32') {
    const data = new Uint16Array(length);
    fill(data, arrays);
    return { dtype: parts[0].dtype, data };
  }
  const data = new Float32Array(length);
  fill(data, arrays);
  return { dtype: 'f32', data };
}

function fill(to: Float32Array | Uint16Array, arrays: readonly ArrayLike<number>[]): void {
  let at = 0;
  for (const array of arrays) {
    to.set(array, at);
    at += array.length;
  }
}

/** @param low the row of the checkpoint that the first one of `all` is */
function gather(all: BlockSource, places: Int32Array, low: number, columns: number): BlockSource {
  const data = all.data.slice(0, places.length * columns);
  places.forEach((place, row) => {
    const from = (place - low) * columns;
    data.set(all.data.subarray(from, from + columns), row * columns);
  });
  return { dtype: all.dtype, data } as BlockSource;
}
