import { lsbFirst, type NumberFormat, type QuantizedTensor, type Scheme, SchemeError, tiling } from '@q/core';
import { floatBytes } from '../graph/graph.js';

/** The form of a matrix in blocks of MatMulNBits. */
export interface BlockShape {
  /** 2, 4 or 8. */
  readonly bits: number;
  /** A power of two from 16 to 256. */
  readonly blockSize: number;
  /** Blocks of a row. */
  readonly blocks: number;
  readonly zeroPoint: 'none' | 'integer' | 'float';
  /** Added to the value of a code to give the stored one: `2^(bits-1)` without zero points. */
  readonly offset: number;
  /** Order of the stored columns, if it is not their own. */
  readonly order?: Int32Array;
}

const widths = [2, 4, 8];

/**
 * The block form of a scheme's codes, without loss. Other widths are stored in the next wider codes, and groups longer
 * than a block in several blocks of the same scale.
 * @throws SchemeError naming the part that does not fit
 */
export function blockShape(
  name: string,
  scheme: Scheme,
  rows: number,
  columns: number,
  groupIndex?: Int32Array,
): BlockShape {
  const { format, granularity, zeroPoint } = scheme;
  const refuse = (what: string): never => {
    throw new SchemeError(
      `${name}: ${what} cannot be written as blocks of MatMulNBits, which takes whole numbers of up to 8 bits in groups of a power of two, at least 16`,
    );
  };
  const [least, most] = valueRange(format) ?? refuse(`values of ${format.name}, which are not whole numbers,`);
  const fits = (width: number) =>
    zeroPoint === 'none' ? least >= -(2 ** (width - 1)) && most < 2 ** (width - 1) : least >= 0 && most < 2 ** width;
  const bits = widths.find(fits) ?? refuse(`codes of ${format.name}`);
  if (zeroPoint === 'float' && bits === 8) refuse('zero points that are no whole numbers, with 8 bits,');
  const offset = zeroPoint === 'none' ? 2 ** (bits - 1) : 0;
  const tiles = tiling(granularity, [rows, columns]);
  if (granularity.kind === 'flat' && columns % tiles.tileColumns !== 0) refuse('blocks that cross the ends of rows');
  const group = granularity.kind === 'flat' ? Math.min(granularity.size, columns) : tiles.tileColumns;
  const blockSize = largestBlock(group, columns);
  if (blockSize === undefined) return refuse(`groups of ${group} columns`);
  const order = groupIndex && sortByGroup(groupIndex, group);
  if (groupIndex && !order) refuse('groups of different sizes (act-order)');
  return { bits, blockSize, blocks: Math.ceil(columns / blockSize), zeroPoint, offset, ...(order ? { order } : {}) };
}

/** Smallest and largest value of a format whose codes are all integers. */
function valueRange(format: NumberFormat): readonly [number, number] | undefined {
  if (format.bits > 8) return undefined;
  for (let code = 0; code < 2 ** format.bits; code++) {
    const value = format.decode(code);
    if (Number.isFinite(value) && !Number.isInteger(value)) return undefined;
  }
  return [format.min, format.max];
}

/** The largest block size for which no group ends inside a block. A block that is longer than the row is padded. */
function largestBlock(group: number, columns: number): number | undefined {
  if (group >= columns) return [256, 128, 64, 32, 16].find((size) => columns % size === 0) ?? 16;
  return [256, 128, 64, 32, 16].find((size) => group % size === 0);
}

/** Columns sorted by group, in their order within a group; undefined if a group other than the last is not full. */
function sortByGroup(groupIndex: Int32Array, group: number): Int32Array | undefined {
  const order = Int32Array.from(groupIndex.keys()).sort((a, b) => groupIndex[a]! - groupIndex[b]! || a - b);
  const regular = order.every((column, place) => groupIndex[column] === Math.floor(place / group));
  return regular ? order : undefined;
}

/** Bytes of the codes, scales and zero points of the rows `start..end`. */
export function packBlocks(
  quantized: QuantizedTensor,
  shape: BlockShape,
  type: 'f32' | 'f16',
  start: number,
  end: number,
): Uint8Array[] {
  const { bits, blockSize, blocks, zeroPoint, offset, order } = shape;
  const { codes, scales, zeroPoints, scheme, shape: dims } = quantized;
  const [rows, columns] = dims as [number, number];
  const tiles = tiling(scheme.granularity, dims);
  const stored = storedCodes(scheme.format, offset);
  const padded = blocks * blockSize;
  const count = end - start;
  const middle = zeroPoint === 'none' ? 2 ** (bits - 1) : 0;
  const line = new Uint8Array(padded).fill(middle);
  const bytesOfRow = (padded * bits) / 8;
  const packed = new Uint8Array(count * bytesOfRow);
  const packing = lsbFirst(bits);
  const flat = scheme.granularity.kind === 'flat';
  const groupsOfRow = flat ? columns / tiles.tileColumns : tiles.scaleColumns;
  const scaleOf = (row: number, block: number) => {
    const group = Math.floor((block * blockSize) / tiles.tileColumns);
    return flat ? row * groupsOfRow + group : Math.floor(row / tiles.tileRows) * groupsOfRow + group;
  };
  const ownScales = new Float32Array(count * blocks);
  const ownZeros = zeroPoint === 'none' ? undefined : new Float32Array(count * blocks);
  const straight = order === undefined && padded === columns && stored === undefined && codes instanceof Uint8Array;
  if (rows < end) throw new SchemeError(`rows up to ${end} were to be packed, the matrix has ${rows}`);
  if (straight) packing.pack(codes.subarray(start * columns, end * columns), packed);
  for (let row = start; row < end; row++) {
    const at = row - start;
    if (!straight) {
      for (let j = 0; j < columns; j++) {
        const code = codes[row * columns + (order ? order[j]! : j)]!;
        line[j] = stored ? stored[code]! : code;
      }
      packing.pack(line, packed.subarray(at * bytesOfRow, (at + 1) * bytesOfRow));
    }
    for (let block = 0; block < blocks; block++) {
      const from = scaleOf(row, block);
      ownScales[at * blocks + block] = scales[from]!;
      if (ownZeros) ownZeros[at * blocks + block] = zeroPoints?.[from] ?? 0;
    }
  }
  return [packed, floatBytes(type, ownScales), ...(ownZeros ? [packZeros(ownZeros, shape, type, count)] : [])];
}

function packZeros(zeros: Float32Array, shape: BlockShape, type: 'f32' | 'f16', rows: number): Uint8Array {
  if (shape.zeroPoint === 'float') return floatBytes(type, zeros);
  const { bits, blocks } = shape;
  const packing = lsbFirst(bits);
  const bytesOfRow = Math.ceil((blocks * bits) / 8);
  const out = new Uint8Array(rows * bytesOfRow);
  for (let row = 0; row < rows; row++) {
    const own = Uint8Array.from(zeros.subarray(row * blocks, (row + 1) * blocks));
    packing.pack(own, out.subarray(row * bytesOfRow, (row + 1) * bytesOfRow));
  }
  return out;
}

/** The stored code of each code; undefined if they are the same. */
function storedCodes(format: NumberFormat, offset: number): Uint8Array | undefined {
  const table = Uint8Array.from({ length: 2 ** format.bits }, (_, code) => {
    const value = format.decode(code);
    return Number.isFinite(value) ? value + offset : 0;
  });
  return table.every((code, index) => code === index) ? undefined : table;
}
