import { FormatError } from '@q/core';
import type { ByteSource } from '@q/safetensors';
import type { GgufTensor } from '../header.js';
import type { ModelTensor } from './conversion.js';
import { matrixOf } from './model-rows.js';
import { inverseOrder } from './row-orders.js';

/** A tensor of a checkpoint, where a file has it. */
export interface StoredRows {
  readonly stored: GgufTensor;
  readonly model: ModelTensor;
  /** Which of `model.from`. */
  readonly part: number;
}

/**
 * Rows `begin` to `end` of a tensor of a checkpoint as a file holds them: in the checkpoint's order, nothing added. A dimension before
 * the last one counts as rows.
 * @returns little-endian bytes: those of the file for f16 and bf16, else f32
 * @throws FormatError for a type that this toolkit cannot decode
 */
export async function rowsInFile(
  source: ByteSource,
  { stored, model, part }: StoredRows,
  begin: number,
  end: number,
): Promise<Uint8Array> {
  const { rows, columns } = matrixOf(model.shape);
  const { from, order, plus } = model;
  const { format, values: blockValues, bytes: blockBytes, name: type } = stored.type;
  if (!format)
    throw new FormatError(`${source.name}: tensor ${stored.name} is of type ${type}, which cannot be decoded`);
  if (order && order.length !== rows)
    throw new FormatError(`${source.name}: holds a part of tensor ${stored.name} alone`);
  const first = (part * rows) / from.length;
  const rowBytes = (columns / blockValues) * blockBytes;
  // A vector is one row of blocks.
  const width = stored.shape.length > 1 ? rowBytes : blockBytes / blockValues;
  let bytes: Uint8Array;
  if (order) {
    const back = inverseOrder(order);
    const all = await source.slice(stored.begin, stored.end);
    bytes = new Uint8Array((end - begin) * width);
    for (let row = begin; row < end; row++) {
      const at = back[first + row] * width;
      bytes.set(all.subarray(at, at + width), (row - begin) * width);
    }
  } else bytes = await source.slice(stored.begin + (first + begin) * width, stored.begin + (first + end) * width);
  if (plus === undefined && (type === 'F16' || type === 'BF16')) return aligned(bytes);
  const values = new Float32Array((end - begin) * columns);
  format.decode(bytes, values);
  if (plus !== undefined) for (let i = 0; i < values.length; i++) values[i] -= plus;
  return new Uint8Array(values.buffer);
}

/** At a place in memory where values of two bytes may begin. */
const aligned = (bytes: Uint8Array): Uint8Array => (bytes.byteOffset % 2 === 0 ? bytes : bytes.slice());
