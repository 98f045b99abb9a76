/**
 * Fits and rounds grids. Rounding and the search do core's own operations in f64 in the same order, so their results
 * are the same bytes. Errors of shrunk ranges are f32, with a relative error well below `shrinkTolerance`.
 */
import {
  type GridErrorArgs,
  type GridKernels,
  type GridLevelsArgs,
  type GridRoundArgs,
  type GridShrinkArgs,
  type GridSweepArgs,
  type GroupedValues,
  shrinkTolerance,
} from '@q/core';
import type { Pool } from './pool.js';

/**
 * Values that are copied to the shared memory at a time. Values that are there already are also processed in chunks of
 * this size.
 */
const chunkValues = 2 ** 19;
const residentValues = 2 ** 23;
/** Values that a thread takes at a time: some tens of microseconds of rounding, or a millisecond of search. */
const grainValues = 2 ** 13;

export function gridKernels(pool: Pool): GridKernels {
  return {
    extremes: (of, pairs) => extremes(pool, of, pairs),
    sweep: (args) => sweep(pool, args),
    shrink: (args) => shrink(pool, args),
    round: (args) => round(pool, args),
    levels: (args) => levels(pool, args),
    errors: (args) => errors(pool, args),
  };
}

/** A range of whole rows, in the shared memory. */
interface Chunk {
  /** Arguments with which all loops over groups begin: values, columns, group size, groups a row. */
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
  /** The first group, numbered through all rows. */
  readonly firstGroup: number;
  readonly groups: number;
  readonly grain: number;
}

/** Processes a matrix in chunks of rows. For a single row, whole groups count as rows. */
function forEachChunk(
  pool: Pool,
  of: GroupedValues,
  importance: Float32Array | undefined,
  buffer: { readonly perGroup: number; readonly fixed?: number },
  run: (chunk: Chunk) => void,
): void {
  const { values, groupSize } = of;
  const split = !importance && of.columns % groupSize === 0;
  const columns = split ? groupSize : of.columns;
  const rows = values.length / columns;
  const groups = Math.ceil(columns / groupSize);
  const resident = pool.addressOf(values);
  const step = Math.max(1, Math.floor((resident === undefined ? chunkValues : residentValues) / columns));
  for (let row = 0; row < rows; row += step) {
    const count = Math.min(step, rows - row);
    const [begin, end] = [row * columns, (row + count) * columns];
    pool.reset(
      (resident === undefined ? 4 * (end - begin) : 0) + count * groups * buffer.perGroup + (buffer.fixed ?? 0) + 65536,
    );
    const address = resident === undefined ? put32(pool, values.subarray(begin, end)) : resident + 4 * begin;
    run({
      shape: [address, columns, groupSize, groups],
      begin,
      end,
      firstGroup: row * groups,
      groups: count * groups,
      grain: Math.max(1, Math.floor(grainValues / groupSize)),
    });
  }
}

function put32(pool: Pool, values: Float32Array | undefined): number {
  if (!values) return 0;
  const shared = pool.f32(values.length);
  shared.set(values);
  return shared.byteOffset;
}

function put64(pool: Pool, values: Float64Array): number {
  const shared = pool.f64(values.length);
  shared.set(values);
  return shared.byteOffset;
}

/** A range of codes: in the shared memory if they are there already, else in a buffer of the shared memory. */
function placeCodes(
  pool: Pool,
  codes: Uint8Array,
  { begin, end }: Chunk,
): { readonly address: number; readonly buffer?: Uint8Array } {
  const resident = pool.addressOf(codes);
  if (resident !== undefined) return { address: resident + begin };
  const buffer = pool.bytes(end - begin);
  return { address: buffer.byteOffset, buffer };
}

function extremes(pool: Pool, of: GroupedValues, pairs: Float32Array): void {
  forEachChunk(pool, of, undefined, { perGroup: 8 }, ({ shape, firstGroup, groups, grain }) => {
    const shared = pool.f32(2 * groups);
    pool.run('groupExtremes', [...shape, shared.byteOffset], groups, grain);
    pairs.set(shared, 2 * firstGroup);
  });
}

function round(pool: Pool, args: GridRoundArgs): boolean {
  const { scales, zeros, min, max, codes } = args;
  let finite = true;
  forEachChunk(pool, args, undefined, { perGroup: 8 + args.groupSize }, (chunk) => {
    const { shape, begin, firstGroup, groups, grain } = chunk;
    const own = (all: Float32Array | undefined) => all?.subarray(firstGroup, firstGroup + groups);
    const rest = pool.f32(pool.threads).fill(0);
    const { address, buffer } = placeCodes(pool, codes, chunk);
    const sharedZeros = put32(pool, own(zeros) ?? new Float32Array(groups));
    const grid = [put32(pool, own(scales)), sharedZeros, address, min, max, rest.byteOffset];
    pool.run('roundGroups', [...shape, ...grid], groups, grain);
    if (buffer) codes.set(buffer, begin);
    finite &&= rest.every((x) => x === 0);
  });
  return finite;
}

function levels(pool: Pool, args: GridLevelsArgs): boolean {
  const { scales, thresholds, levelCodes, zeroIndex, negativeZero, codes } = args;
  const steps = 32 - Math.clz32(thresholds.length);
  const padded = new Float64Array(2 ** steps - 1).fill(Number.POSITIVE_INFINITY);
  padded.set(thresholds);
  let finite = true;
  const fixed = 8 * padded.length + levelCodes.length;
  forEachChunk(pool, args, undefined, { perGroup: 4 + args.groupSize, fixed }, (chunk) => {
    const { shape, begin, firstGroup, groups, grain } = chunk;
    const rest = pool.f32(pool.threads).fill(0);
    const { address, buffer } = placeCodes(pool, codes, chunk);
    const sharedCodes = pool.bytes(levelCodes.length);
    sharedCodes.set(levelCodes);
    const tables = [put64(pool, padded), steps, sharedCodes.byteOffset, levelCodes.length, zeroIndex, negativeZero];
    const own = put32(pool, scales.subarray(firstGroup, firstGroup + groups));
    pool.run('levelGroups', [...shape, own, ...tables, address, rest.byteOffset], groups, grain);
    if (buffer) codes.set(buffer, begin);
    finite &&= rest.every((x) => x === 0);
  });
  return finite;
}

function errors(pool: Pool, args: GridErrorArgs): void {
  const { scales, zeros, min, codes, sums } = args;
  forEachChunk(pool, args, undefined, { perGroup: 24 + args.groupSize }, (chunk) => {
    const { shape, begin, end, firstGroup, groups, grain } = chunk;
    const own = (all: Float32Array | undefined) => all?.subarray(firstGroup, firstGroup + groups);
    const found = pool.f64(2 * groups);
    const { address, buffer } = placeCodes(pool, codes, chunk);
    buffer?.set(codes.subarray(begin, end));
    const sharedZeros = put32(pool, own(zeros) ?? new Float32Array(groups));
    const grid = [put32(pool, own(scales)), sharedZeros, address, min, found.byteOffset];
    pool.run('squaredErrors', [...shape, ...grid], groups, grain);
    sums.set(found, 2 * firstGroup);
  });
}

function sweep(pool: Pool, args: GridSweepArgs): void {
  const { importance, thresholds, min, max, points, low, high, aims, scales, zeros, groupSize } = args;
  const mode = aims === 'zeroPoint' ? 2 : aims === 'ends' ? 0 : 1;
  const scratchBytes = pool.threads * pool.exports.sweepBytes(points);
  const fixed = 8 * thresholds.length + 4 * args.columns + scratchBytes;
  forEachChunk(pool, args, importance, { perGroup: 12, fixed }, ({ shape, firstGroup, groups }) => {
    const foundScales = pool.f64(groups);
    const foundZeros = pool.f32(groups);
    const scratch = pool.bytes(scratchBytes);
    const tables = [put32(pool, importance), put64(pool, thresholds), min, max, points, low, high, mode];
    const results = [scratch.byteOffset, foundScales.byteOffset, foundZeros.byteOffset];
    const grain = Math.max(1, Math.floor(grainValues / 4 / groupSize));
    pool.run('sweepGroups', [...shape, ...tables, ...results], groups, grain);
    scales.set(foundScales, firstGroup);
    zeros.set(foundZeros, firstGroup);
  });
}

function shrink(pool: Pool, args: GridShrinkArgs): void {
  const { importance, scales, zeros, min, max, factors, norm, errors, groupSize, columns } = args;
  const count = factors.length;
  const buffer = { perGroup: 8 + 4 * count, fixed: 8 * pool.threads * (groupSize + 4) + 4 * (columns + count) };
  forEachChunk(pool, args, importance, buffer, ({ shape, firstGroup, groups, grain }) => {
    const own = (all: Float32Array) => all.subarray(firstGroup, firstGroup + groups);
    const scratch = pool.f32(2 * pool.threads * (Math.ceil(groupSize / 4) * 4));
    const found = pool.f32(groups * count);
    const weights = put32(pool, importance);
    const grid = [put32(pool, own(scales)), put32(pool, own(zeros)), min, max];
    const search = [put32(pool, factors), count, norm, 1 + 2 * shrinkTolerance];
    pool.run(
      'shrinkGroups',
      [...shape, weights, ...grid, ...search, scratch.byteOffset, found.byteOffset],
      groups,
      grain,
    );
    errors.set(found, firstGroup * count);
  });
}
