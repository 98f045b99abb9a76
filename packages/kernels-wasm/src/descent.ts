import { type Descent, type DescentArgs, referenceKernels } from '@q/core';
import type { Pool } from './pool.js';

/** Rows of a panel of `assembly/descent.ts`. */
const panelRows = 8;
/** Panels that a thread takes at a time: the thread reads their common part of the matrix once for 64 rows. */
const panelsAtOnce = 8;

/** Coordinate descent in f32, 8 rows at a time. f32 sums run over at most 256 columns; then these are summed. */
export function openDescent(pool: Pool, args: DescentArgs): Descent {
  // The kernel takes columns in fours, so a group has to begin at a multiple of four.
  if (args.group.some((own, j) => j % 4 !== 0 && own !== args.group[j - 1])) return referenceKernels.openDescent(args);
  const { rows, columns, target, hessian, grid, groups, group, scales, zeros, codes } = args;
  const padded = Math.ceil(columns / 4) * 4;
  const panels = Math.ceil(rows / panelRows);
  const height = panels * panelRows;
  const grain = Math.min(panelsAtOnce, Math.ceil(panels / (2 * pool.threads)));
  const { bytes, release } = pool.reserve(
    4 * (padded ** 2 + height * (2 * padded + 2 * groups + 3) + columns + 512) + height * padded + 1024,
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
  pool.reset(4 * rows * columns + 65536);
  const staging = pool.f32(rows * columns);
  staging.set(target.subarray(0, rows * columns));
  pool.run('packRows', [staging.byteOffset, rows, columns, 0, targets], panels, grain);
  const byteStaging = new Uint8Array(staging.buffer, staging.byteOffset, rows * columns);
  byteStaging.set(codes.subarray(0, rows * columns));
  pool.run('packCodes', [byteStaging.byteOffset, rows, columns, packedCodes], panels, grain);

  const [ownScales, ownZeros] = [floats(height * groups), floats(height * groups)];
  const [sums, stepRoom] = [floats(2 * height), floats(height)];
  const groupRoom = floats(columns);
  new Int32Array(groupRoom.buffer, groupRoom.byteOffset, columns).set(group);
  const levels = grid.kind === 'levels' ? grid.levels.length : 0;
  const [levelValues, levelCodes] = [floats(levels), new Uint8Array(bytes.buffer, take(levels), levels)];
  const table = grid.kind === 'levels' ? floats(256) : undefined;
  if (grid.kind === 'levels' && table) {
    levelValues.set(grid.levels);
    levelCodes.set(grid.codes);
    for (const [i, code] of grid.codes.entries()) table[code] = grid.levels[i];
  }
  const [lowest, highest] = grid.kind === 'linear' ? [grid.min, grid.max] : [0, 0];
  const tableAt = table?.byteOffset ?? 0;

  /** Writes `[rows, groups]` as `[panel][groups][8]`. Rows that the last panel lacks get `fill`. */
  const place = (from: Float32Array, fill: number, to: Float32Array, first: number, end: number): void => {
    for (let row = 0; row < height; row++) {
      const at = Math.floor(row / panelRows) * groups * panelRows + (row % panelRows);
      for (let g = first; g < end; g++) to[at + g * panelRows] = row < rows ? from[row * groups + g] : fill;
    }
  };
  place(scales, 1, ownScales, 0, groups);
  place(zeros, 0, ownZeros, 0, groups);
  const grids = [ownScales.byteOffset, ownZeros.byteOffset, groups, groupRoom.byteOffset];
  pool.run('differences', [targets, packedCodes, ...grids, columns, lowest, tableAt, difference], panels, grain);

  const block = { gradient: 0, units: 0, curvature: 0 };
  return {
    gradient(start, end) {
      const size = height * Math.ceil((end - start) / 4) * 4;
      pool.reset(12 * size + 65536);
      block.gradient = pool.f32(size).byteOffset;
      block.units = pool.f32(size).byteOffset;
      block.curvature = pool.f32(size).byteOffset;
      pool.run('blockGradient', [difference, matrix, columns, start, end, block.gradient], panels, grain);
    },
    scaleGains(start, end) {
      const { gradient, units, curvature } = block;
      pool.run(
        'scaleSteps',
        [
          ...[packedCodes, ownZeros.byteOffset, groups, group[start], matrix, columns, start, end],
          ...[lowest, tableAt, gradient, units, curvature, sums.byteOffset],
        ],
        panels,
        grain,
      );
      const of = (offset: number) =>
        Float32Array.from(
          { length: rows },
          (_, row) => sums[2 * (row - (row % panelRows)) + offset + (row % panelRows)],
        );
      return { numerators: of(0), curvatures: of(panelRows) };
    },
    descend(start, end, steps) {
      if (steps) {
        stepRoom.fill(0);
        stepRoom.set(steps.subarray(0, rows));
        place(scales, 1, ownScales, group[start], group[start] + 1);
      }
      const { gradient, units, curvature } = block;
      pool.run(
        'descendPanels',
        [
          ...[targets, difference, matrix, ...grids, packedCodes, columns, lowest, highest],
          ...[levels, levelValues.byteOffset, levelCodes.byteOffset, start, end],
          ...[gradient, units, curvature, steps ? stepRoom.byteOffset : 0],
        ],
        panels,
        grain,
      );
    },
    close() {
      pool.reset(rows * columns + 65536);
      const out = pool.bytes(rows * columns);
      pool.run('unpackCodes', [packedCodes, rows, columns, 0, out.byteOffset], panels, grain);
      codes.set(out);
      release();
    },
  };
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
