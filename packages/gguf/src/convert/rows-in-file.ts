import {
  FormatError,
  f32Scale,
  type NumberFormat,
  perGroup,
  type QuantizedTensor,
  scheme,
  unsignedIntegers,
} from '@q/core';
import type { ByteSource } from '@q/safetensors';
import type { GgufTensor } from '../header.js';
import type { ModelTensor } from './conversion.js';
import { matrixOf } from './model-rows.js';
import { inverseOrder } from './row-orders.js';

/** The position of a checkpoint's tensor in a file. */
export interface StoredRows {
  readonly stored: GgufTensor;
  readonly model: ModelTensor;
  /** Index in `model.from`. */
  readonly part: number;
}

/**
 * Rows `begin` to `end` of a checkpoint's tensor, read from a file: in the checkpoint's order, with nothing added. A
 * dimension before the last one counts as rows.
 * @returns little-endian bytes: those of the file for f16 and bf16, else f32; always f32 for a part of a tensor's rows
 * @throws FormatError for a type that this toolkit cannot decode
 */
export async function rowsInFile(
  source: ByteSource,
  { stored, model, part }: StoredRows,
  begin: number,
  end: number,
): Promise<Uint8Array> {
  const { columns } = matrixOf(model.shape);
  const { plus, strided } = model;
  const { format, name: type } = stored.type;
  if (!format)
    throw new FormatError(`${source.name}: tensor ${stored.name} is of type ${type}, which cannot be decoded`);
  const bytes = await storedBytes(source, { stored, model, part }, begin, end);
  if (plus === undefined && !strided && (type === 'F16' || type === 'BF16')) return aligned(bytes);
  const values = new Float32Array((end - begin) * columns);
  format.decode(bytes, values);
  if (plus !== undefined) for (let i = 0; i < values.length; i++) values[i] -= plus;
  return new Uint8Array(values.buffer);
}

/** The same rows in the form of the file. */
async function storedBytes(
  source: ByteSource,
  { stored, model, part }: StoredRows,
  begin: number,
  end: number,
): Promise<Uint8Array> {
  const { rows, columns } = matrixOf(model.shape);
  const { from, order } = model;
  const { values: blockValues, bytes: blockBytes } = stored.type;
  if (order && order.length !== rows)
    throw new FormatError(`${source.name}: holds a part of tensor ${stored.name} alone`);
  const first = (part * rows) / from.length;
  const rowBytes = (columns / blockValues) * blockBytes;
  // A vector is one row of blocks.
  const width = stored.shape.length > 1 ? rowBytes : blockBytes / blockValues;
  if (order) {
    const back = inverseOrder(order);
    const all = await source.slice(stored.begin, stored.end);
    const bytes = new Uint8Array((end - begin) * width);
    for (let row = begin; row < end; row++) {
      const at = back[first + row] * width;
      bytes.set(all.subarray(at, at + width), (row - begin) * width);
    }
    return bytes;
  }
  return source.slice(stored.begin + (first + begin) * width, stored.begin + (first + end) * width);
}

/**
 * Whether a type's values are `scale (code - zero)` with one scale and one zero a group, as {@link quantizedInFile}
 * needs.
 */
export function hasLinearCodes({ type }: GgufTensor): boolean {
  const levels = type.values > 1 ? type.format?.grid?.levels : undefined;
  return levels?.every((level, code) => level === levels[0] + code) ?? false;
}

/** Values whose bytes and codes are in memory at the same time: an embedding has a hundred times as many. */
const valuesAtOnce = 2 ** 20;

/** Replaces a scale of zero; the groups with such a scale contain only their minimum. */
const vanishing = 1e-20;

/**
 * The codes of a checkpoint's matrix, read from a file, for products on packed codes. The values equal those of the
 * file up to a rounding of the zero point. Only for types with {@link hasLinearCodes}.
 */
export async function quantizedInFile(source: ByteSource, place: StoredRows): Promise<QuantizedTensor> {
  const { format, values, bytes: blockBytes, name: type } = place.stored.type;
  if (!format?.grid) throw new FormatError(`${source.name}: tensor ${place.stored.name} of type ${type} has no codes`);
  const { group, levels, getScales, getCodes } = format.grid;
  const { rows: all, columns } = matrixOf(place.model.shape);
  const rows = all / place.model.from.length;
  const codes = new Uint8Array(rows * columns);
  const each = values / group;
  const [scales, zeroPoints] = [new Float32Array(codes.length / group), new Float32Array(codes.length / group)];
  // Rows in another order are read with all others.
  const rowsAtOnce = place.model.order ? rows : Math.max(1, Math.floor(valuesAtOnce / columns));
  let bytes: Uint8Array = new Uint8Array(0);
  for (let block = 0, first = 0; block * values < codes.length; block++) {
    if ((block - first) * blockBytes === bytes.length) {
      first = block;
      const row = (block * values) / columns;
      bytes = await storedBytes(source, place, row, Math.min(rows, row + rowsAtOnce));
    }
    const from = bytes.subarray((block - first) * blockBytes, (block - first + 1) * blockBytes);
    const [own, zeros] = [scales, zeroPoints].map((of) => of.subarray(block * each, (block + 1) * each));
    getScales(from, own, zeros);
    getCodes(from, codes.subarray(block * values, (block + 1) * values));
    for (let j = 0; j < each; j++) {
      if (own[j] === 0) own[j] = vanishing;
      zeros[j] = zeros[j] / own[j] - levels[0];
    }
  }
  const code = unsignedIntegers.find(({ max }) => max + 1 >= levels.length) as NumberFormat;
  return {
    scheme: scheme({ format: code, granularity: perGroup(group), zeroPoint: 'float', scaleStorage: f32Scale }),
    ...{ shape: [rows, columns], codes, scales, zeroPoints },
  };
}

/** Copies bytes to an address where 2-byte values may begin. */
const aligned = (bytes: Uint8Array): Uint8Array => (bytes.byteOffset % 2 === 0 ? bytes : bytes.slice());
