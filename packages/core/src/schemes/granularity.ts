import { SchemeError } from '../contracts/errors.js';
import type { Granularity } from '../contracts/granularity.js';
import { elementCount } from '../tensor.js';

export const perTensor: Granularity = { kind: 'tensor' };
export const perChannel: Granularity = { kind: 'channel' };
export const perToken: Granularity = { kind: 'token' };

function positive(what: string, value: number): number {
  if (!Number.isInteger(value) || value < 1)
    throw new SchemeError(`${what} must be a whole number of at least 1, got ${value}`);
  return value;
}

/** `size` consecutive columns of a row share a scale. */
export const perGroup = (size: number): Granularity => ({ kind: 'group', size: positive('groupSize', size) });
/** Tiles of `rows x columns` share a scale. */
export const perBlock = (rows: number, columns: number): Granularity => ({
  kind: 'block',
  rows: positive('block rows', rows),
  columns: positive('block columns', columns),
});
/** `size` consecutive elements of the flattened tensor share a scale (bitsandbytes). */
export const perFlat = (size: number): Granularity => ({ kind: 'flat', size: positive('block size', size) });

/**
 * Every granularity is a grid of tiles over a matrix: element (i,j) has scale
 * `floor(i/tileRows) * scaleColumns + floor(j/tileColumns)`. `flat` is a grid over the matrix `[1, elements]`.
 */
export interface Tiling {
  readonly rows: number;
  readonly columns: number;
  readonly tileRows: number;
  readonly tileColumns: number;
  readonly scaleRows: number;
  readonly scaleColumns: number;
}

/** The tiles of a tensor. Ragged at the right and bottom edge; an empty tensor has no tiles. */
export function tiling(granularity: Granularity, shape: readonly number[]): Tiling {
  const elements = elementCount(shape);
  const width = shape.length === 0 ? 1 : shape[shape.length - 1];
  const flat = granularity.kind === 'flat';
  const columns = flat ? elements : width;
  const rows = elements === 0 ? 0 : flat ? 1 : elements / width;
  let tileRows = 1;
  let tileColumns = columns;
  if (granularity.kind === 'tensor') tileRows = rows;
  else if (granularity.kind === 'group' || granularity.kind === 'flat') tileColumns = granularity.size;
  else if (granularity.kind === 'block') {
    tileRows = granularity.rows;
    tileColumns = granularity.columns;
  }
  tileRows = Math.max(1, Math.min(tileRows, rows));
  tileColumns = Math.max(1, Math.min(tileColumns, columns));
  return {
    rows,
    columns,
    tileRows,
    tileColumns,
    scaleRows: Math.ceil(rows / tileRows),
    scaleColumns: rows === 0 ? 0 : Math.ceil(columns / tileColumns),
  };
}
