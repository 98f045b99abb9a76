import {
  type OutputDescent,
  type OutputDescentArgs,
  type OutputScaleGains,
  referenceKernels,
  rowsTogether,
} from '@q/core';
import type { Pool } from './pool.js';
import { packRows, placeRows, startsAtFours } from './rounded-rows.js';

/** Panels whose products with G are computed together; a panel adds those of the earlier panels' changes itself. */
const panelsTogether = 8;

/**
 * Coordinate descent across outputs in f32. All threads compute D H of a block, and G times it for 64 rows. The calling
 * thread moves the codes, a panel of 8 rows after the other: a panel needs the changes of the earlier ones. f32 sums run
 * over at most 256 columns or rows; then these are summed.
 */
export function openOutputDescent(pool: Pool, args: OutputDescentArgs): OutputDescent {
  if (!startsAtFours(args.group)) return referenceKernels.openOutputDescent(args);
  const { rows, columns, outputs, groups, group } = args;
  const height = Math.ceil(rows / rowsTogether) * rowsTogether;
  const momentBytes = 4 * height * Math.ceil(rows / 4) * 4;
  const placed = placeRows(pool, args, momentBytes + 1024);
  const { panels, grain, matrix, difference, lowest, table } = placed;
  const moments = placed.take(momentBytes);
  packRows(pool, outputs, rows, rows, moments);
  const [sums, products] = [placed.floats(2 * rowsTogether), placed.floats(rowsTogether ** 2)];
  const stepBuffer = placed.floats(rowsTogether);
  const { exports } = pool;

  /** Arrays of a block; all but `gradient` and `quads` are of one panel or of the panels that are taken together. */
  function takeBlock(start: number, end: number) {
    const stride = Math.ceil((end - start) / 4) * 4;
    const own = rowsTogether * stride;
    pool.reset(4 * (2 * height + (panelsTogether + 3) * rowsTogether) * stride + 65536);
    const take = (count: number) => pool.f32(count).byteOffset;
    return {
      ...{ start, end, stride, gradient: take(height * stride), quads: take(height * stride) },
      ...{ units: take(own), curvature: take(own), mixed: take(own), changes: take(panelsTogether * own) },
    };
  }

  function gainsOf(panel: number, { start, end, stride, gradient, units, curvature }: ReturnType<typeof takeBlock>) {
    // The kernel finds the arrays of a panel by its number.
    const before = panel * rowsTogether * stride * 4;
    exports.scaleSteps(
      ...[placed.codes, placed.zeros, groups, group[start], matrix, columns, start, end],
      ...[lowest, table, gradient, units - before, curvature - before, sums.byteOffset - 64 * panel],
      ...[panel, panel + 1, 0],
    );
    exports.rowProducts(units, curvature, stride, products.byteOffset);
    const first = panel * rowsTogether;
    const count = Math.min(rowsTogether, rows - first);
    const curvatures = new Float32Array(count ** 2);
    for (let i = 0; i < count; i++)
      for (let k = 0; k < count; k++)
        curvatures[i * count + k] = outputs[(first + i) * rows + first + k] * products[i * rowsTogether + k];
    return { first, numerators: sums.slice(0, count), curvatures };
  }

  return {
    descend(start, end, fit?: (gains: OutputScaleGains) => Float32Array) {
      const block = takeBlock(start, end);
      const { stride, gradient, quads, units, curvature, mixed, changes } = block;
      pool.run('blockGradient', [difference, matrix, columns, start, end, gradient], panels, grain);
      pool.run('turnPanels', [gradient, stride, height, quads], panels, grain);
      for (let base = 0; base < panels; base += panelsTogether) {
        const count = Math.min(panelsTogether, panels - base);
        const mixing = [moments, rows, quads, height, stride, gradient, base, count];
        pool.run('mixOutputs', mixing, stride / 4, Math.ceil(stride / 8 / pool.threads));
        for (let panel = base; panel < base + count; panel++) {
          const tall = panelsTogether * rowsTogether;
          exports.mixChanges(moments, rows, changes, tall, stride, gradient, base, panel);
          if (fit) {
            stepBuffer.fill(0);
            stepBuffer.set(fit(gainsOf(panel, block)));
            placed.takeScales(group[start], panel, panel + 1);
          }
          exports.descendOutputs(
            ...[placed.targets, difference, matrix, ...placed.grids, placed.codes, columns, ...placed.rounding, table],
            ...[start, end, moments, rows, gradient, units, curvature, mixed, fit ? stepBuffer.byteOffset : 0],
            ...[quads, changes, tall, base, panel],
          );
        }
      }
    },
    close: placed.close,
  };
}
