import { type BlockSource, decodeBf16, decodeF16 } from '@q/core';
import type { ConversionSource, ModelTensor } from './conversion.js';

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
 * Reordered rows are read all together: this affects the matrices of queries and keys, which are not the large ones.
 */
export function openRows(source: ConversionSource, tensor: ModelTensor): RowReader {
  const { order, plus, values, shape } = tensor;
  const { columns } = matrixOf(shape);
  if (values)
    return { read: async (begin, end) => ({ dtype: 'f32', data: values.subarray(begin * columns, end * columns) }) };
  let all: Promise<BlockSource> | undefined;
  const ordered = async (begin: number, end: number): Promise<BlockSource> => {
    all ??= readParts(source, tensor, 0, sourceRows(source, tensor));
    return gather(await all, order as Int32Array, columns, begin, end);
  };
  const inOrder = order ? ordered : (begin: number, end: number) => readParts(source, tensor, begin, end);
  if (plus === undefined) return { read: inOrder };
  return {
    async read(begin, end) {
      const data = floats(await inOrder(begin, end)).map((value) => value + plus);
      return { dtype: 'f32', data };
    },
  };
}

/** Values as f32. */
function floats({ dtype, data }: BlockSource): Float32Array {
  if (dtype === 'f32') return data;
  return dtype === 'f16' ? decodeF16(data) : decodeBf16(data);
}

function sourceRows(source: ConversionSource, { from }: ModelTensor): number {
  return from.reduce((sum, name) => sum + matrixOf(source.shapes.get(name) as readonly number[]).rows, 0);
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

function gather(all: BlockSource, order: Int32Array, columns: number, begin: number, end: number): BlockSource {
  const data = all.data.slice(0, (end - begin) * columns);
  for (let row = begin; row < end; row++) {
    const from = order[row] * columns;
    data.set(all.data.subarray(from, from + columns), (row - begin) * columns);
  }
  return { dtype: all.dtype, data } as BlockSource;
}
