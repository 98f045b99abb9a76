import { type Descent, type DescentArgs, referenceKernels } from '@q/core';
import type { Pool } from './pool.js';
import { panelRows, placeRows, startsAtFours } from './rounded-rows.js';

/** Coordinate descent in f32, 8 rows at a time. f32 sums run over at most 256 columns; then these are summed. */
export function openDescent(pool: Pool, args: DescentArgs): Descent {
  if (!startsAtFours(args.group)) return referenceKernels.openDescent(args);
  const { rows, columns, groups, group } = args;
  const height = Math.ceil(rows / panelRows) * panelRows;
  const placed = placeRows(pool, args, 4 * 3 * height + 128);
  const { panels, grain, matrix, targets, difference, grids, lowest, table } = placed;
  const [sums, stepBuffer] = [placed.floats(2 * height), placed.floats(height)];
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
          ...[placed.codes, placed.zeros, groups, group[start], matrix, columns, start, end],
          ...[lowest, table, gradient, units, curvature, sums.byteOffset],
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
        stepBuffer.fill(0);
        stepBuffer.set(steps.subarray(0, rows));
        placed.takeScales(group[start], 0, panels);
      }
      const { gradient, units, curvature } = block;
      pool.run(
        'descendPanels',
        [
          ...[targets, difference, matrix, ...grids, placed.codes, columns, ...placed.rounding, start, end],
          ...[gradient, units, curvature, steps ? stepBuffer.byteOffset : 0],
        ],
        panels,
        grain,
      );
    },
    close: placed.close,
  };
}
