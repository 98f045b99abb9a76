import type { PackedWeight, QuantizedTensor, SummedPackedWeight } from '@q/core';

/** Inputs of a group, and the order of the inputs in which groups are consecutive. */
interface Groups {
  readonly size: number;
  readonly order?: Int32Array;
}

/**
 * A quantized matrix as products on packed codes take it: 2 bits as they are, 3 and 4 bits in codes of 4, 5 to 8 bits in codes of 8.
 * Nothing for what these products do not know: tables of values, floats, blocks that cross rows, groups that are no whole words.
 */
export function packedParts(quantized: QuantizedTensor): SummedPackedWeight | undefined {
  const { scheme, shape, codebook } = quantized;
  const { format } = scheme;
  if (shape.length !== 2 || codebook !== undefined || format.family !== 'linear' || format.bits > 8) return undefined;
  const bits = format.bits <= 2 ? 2 : format.bits <= 4 ? 4 : 8;
  const groups = groupsOf(quantized, 32 / bits);
  if (!groups) return undefined;
  const { order } = groups;
  const [rows, columns] = shape as [number, number];
  const codes = inOrder(quantized.codes as Uint8Array, rows, columns, order);
  const { scales, zeros } = grids(quantized, groups);
  const part: PackedWeight = {
    ...{ outFeatures: rows, inFeatures: columns, bits, groupSize: groups.size },
    ...{ codes, scales, zeros },
  };
  return { parts: [part], ...(order ? { order } : {}) };
}

/** Groups of whole words of `perWord` codes, or nothing where there are none. */
function groupsOf({ scheme, shape, groupIndex, scales }: QuantizedTensor, perWord: number): Groups | undefined {
  const { granularity } = scheme;
  const [rows, columns] = shape as [number, number];
  if (columns % perWord !== 0) return undefined;
  if (granularity.kind === 'channel' || granularity.kind === 'tensor') return { size: columns };
  if (granularity.kind !== 'group') return undefined;
  const { size } = granularity;
  const count = scales.length / rows;
  if (count > 1 && size % perWord !== 0) return undefined;
  if (!groupIndex) return { size: Math.min(size, columns) };
  const order = Int32Array.from({ length: columns }, (_, i) => i).sort(
    (i, j) => groupIndex[i]! - groupIndex[j]! || i - j,
  );
  return order.every((column, i) => groupIndex[column] === Math.floor(i / size)) ? { size, order } : undefined;
}

/** Codes `[rows, columns]` with columns in another order. */
function inOrder(codes: Uint8Array, rows: number, columns: number, order: Int32Array | undefined): Uint8Array {
  if (!order) return codes;
  const out = new Uint8Array(codes.length);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < columns; i++) out[row * columns + i] = codes[row * columns + order[i]!]!;
  return out;
}

/** Scales and zero points `[groups, rows]`; a code is offset by the format's least value. */
function grids({ scheme, shape, scales, zeroPoints }: QuantizedTensor, { size }: Groups) {
  const [rows, columns] = shape as [number, number];
  const count = Math.ceil(columns / size);
  const single = scales.length === 1;
  const out = { scales: new Float32Array(count * rows), zeros: new Float32Array(count * rows) };
  for (let row = 0; row < rows; row++)
    for (let group = 0; group < count; group++) {
      const at = single ? 0 : row * count + group;
      out.scales[group * rows + row] = scales[at]!;
      out.zeros[group * rows + row] = (zeroPoints?.[at] ?? 0) - scheme.format.min;
    }
  return out;
}
