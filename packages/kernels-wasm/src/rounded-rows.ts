import type { DescentArgs } from '@q/core';
import type { Pool } from './pool.js';

/** Rows of a panel of `assembly/descent.ts`. */
export const panelRows = 8;
/** Panels that a thread takes at a time: the thread reads their common part of the matrix once for 64 rows. */
const panelsAtOnce = 8;

/** Rounded rows of a descent in the kernels' memory, in the panels of `assembly/descent.ts`. Numbers are addresses. */
export interface RoundedRows {
  readonly panels: number;
  /** Panels that a thread takes at a time. */
  readonly grain: number;
  /** H, packed. */
  readonly matrix: number;
  readonly targets: number;
  /** D = T - Q. */
  readonly difference: number;
  readonly codes: number;
  /** Arguments of the kernels: scales, zeros, number of groups, group of each column. */
  readonly grids: readonly number[];
  readonly zeros: number;
  /** Arguments of the kernels: least and largest integer, number of levels, levels, their codes. */
  readonly rounding: readonly number[];
  readonly lowest: number;
  /** Level of each code `[256]`; 0 for integers. */
  readonly table: number;
  /** Memory that stays until `close`. */
  take(bytes: number): number;
  floats(count: number): Float32Array;
  /** Copies the scales of panels `[first, last)` of a group from the arguments. */
  takeScales(index: number, first: number, last: number): void;
  /** Writes the codes to the arguments, and frees the memory. */
  close(): void;
}

/**
 * Copies rounded rows into the kernels' memory and computes D.
 * @param more bytes that the caller takes
 */
export function placeRows(pool: Pool, args: DescentArgs, more: number): RoundedRows {
  const { rows, columns, target, hessian, grid, groups, group, codes } = args;
  const padded = Math.ceil(columns / 4) * 4;
  const panels = Math.ceil(rows / panelRows);
  const height = panels * panelRows;
  const grain = Math.min(panelsAtOnce, Math.ceil(panels / (2 * pool.threads)));
  const { bytes, release } = pool.reserve(
    4 * (padded ** 2 + height * (2 * padded + 2 * groups) + columns + 512) + height * padded + 1024 + more,
  );
  let top = bytes.byteOffset;
  const take = (size: number): number => {
    const at = top;
    top += Math.ceil(size / 64) * 64;
    return at;
  };
  const floats = (count: number) => new Float32Array(bytes.buffer, take(4 * count), count);

  const matrix = take(4 * padded ** 2);
  packSquare(pool, hessian, columns, matrix);
  const [targets, difference] = [take(4 * height * padded), take(4 * height * padded)];
  const packedCodes = take(height * padded);
  packRows(pool, target, rows, columns, targets);
  pool.reset(rows * columns + 65536);
  const byteStaging = pool.bytes(rows * columns);
  byteStaging.set(codes.subarray(0, rows * columns));
  pool.run('packCodes', [byteStaging.byteOffset, rows, columns, packedCodes], panels, grain);

  const [scales, zeros] = [floats(height * groups), floats(height * groups)];
  const groupBytes = take(4 * columns);
  new Int32Array(bytes.buffer, groupBytes, columns).set(group);
  const levels = grid.kind === 'levels' ? grid.levels.length : 0;
  const [levelValues, levelCodes] = [floats(levels), new Uint8Array(bytes.buffer, take(levels), levels)];
  const table = grid.kind === 'levels' ? floats(256) : undefined;
  if (grid.kind === 'levels' && table) {
    levelValues.set(grid.levels);
    levelCodes.set(grid.codes);
    for (const [i, code] of grid.codes.entries()) table[code] = grid.levels[i];
  }
  const [lowest, highest] = grid.kind === 'linear' ? [grid.min, grid.max] : [0, 0];

  /** Writes a group of a panel, `[rows, groups]`, as `[panel][groups][8]`. Rows that the last panel lacks get `fill`. */
  const place = (g: number, panel: number, from: Float32Array, fill: number, to: Float32Array): void => {
    const at = (panel * groups + g) * panelRows;
    for (let i = 0; i < panelRows; i++) {
      const row = panel * panelRows + i;
      to[at + i] = row < rows ? from[row * groups + g] : fill;
    }
  };
  const takeScales = (g: number, first: number, last: number) => {
    for (let panel = first; panel < last; panel++) place(g, panel, args.scales, 1, scales);
  };
  for (let g = 0; g < groups; g++) {
    takeScales(g, 0, panels);
    for (let panel = 0; panel < panels; panel++) place(g, panel, args.zeros, 0, zeros);
  }
  const grids = [scales.byteOffset, zeros.byteOffset, groups, groupBytes];
  const tableAt = table?.byteOffset ?? 0;
  pool.run('differences', [targets, packedCodes, ...grids, columns, lowest, tableAt, difference], panels, grain);
  return {
    ...{ panels, grain, matrix, targets, difference, codes: packedCodes, grids, zeros: zeros.byteOffset },
    ...{ lowest, table: tableAt, take, floats, takeScales },
    rounding: [lowest, highest, levels, levelValues.byteOffset, levelCodes.byteOffset],
    close() {
      pool.reset(rows * columns + 65536);
      const out = pool.bytes(rows * columns);
      pool.run('unpackCodes', [packedCodes, rows, columns, 0, out.byteOffset], panels, grain);
      codes.set(out);
      release();
    },
  };
}

/** Largest part of a matrix that is copied in at once, in values. */
const chunkValues = 4 << 20;

/** Packs `[rows, columns]` into panels of 8 rows. */
export function packRows(pool: Pool, from: Float32Array, rows: number, columns: number, to: number): void {
  const atOnce = Math.max(panelRows, Math.floor(chunkValues / columns / panelRows) * panelRows);
  const padded = Math.ceil(columns / 4) * 4;
  pool.reset(4 * Math.min(rows, atOnce) * columns + 65536);
  const staging = pool.f32(Math.min(rows, atOnce) * columns);
  for (let start = 0; start < rows; start += atOnce) {
    const count = Math.min(atOnce, rows - start);
    staging.set(from.subarray(start * columns, (start + count) * columns));
    const panels = Math.ceil(count / panelRows);
    pool.run('packRows', [staging.byteOffset, count, columns, 0, to + 4 * start * padded], panels, panelsAtOnce);
  }
}

/** Packs the whole matrix into panels of 4 columns. */
function packSquare(pool: Pool, matrix: Float32Array, columns: number, to: number): void {
  const resident = pool.addressOf(matrix);
  if (resident === undefined) {
    pool.reset(4 * columns ** 2 + 65536);
    const staging = pool.f32(columns ** 2);
    staging.set(matrix.subarray(0, columns ** 2));
    pool.run('packSquare', [staging.byteOffset, columns, to], Math.ceil(columns / 4), 32);
  } else pool.run('packSquare', [resident, columns, to], Math.ceil(columns / 4), 32);
}

/** The kernels take columns in fours, so a group has to begin at a multiple of four. */
export function startsAtFours(group: Int32Array): boolean {
  return group.every((own, j) => j % 4 === 0 || own === group[j - 1]);
}
