import { allFinite } from './all-finite.js';
import { NumericError } from './contracts/errors.js';
import type { Kernels } from './contracts/kernels.js';
import type { ScaleFit } from './contracts/scale-fit.js';
import type { Scheme, StoredScales } from './contracts/scheme.js';
import type { Tensor } from './contracts/tensor.js';
import { tiling } from './schemes/granularity.js';

export interface FittedScales {
  /** The scales that a reader gets, row-major over the tiles. */
  readonly scales: Float32Array;
  readonly zeroPoints?: Float32Array;
  readonly storedScales?: StoredScales;
}

/**
 * Fits one grid to each tile of the scheme's granularity, and rounds the scales to their storage.
 * @param importance weight of each column `[columns]` of the matrix, or of each element `[rows * columns]` for tiles of
 *   several rows: one constant weight for a whole row does not change the grid of a tile of one row
 * @param kernels do the heavy part of the fit if they can; the result does not depend on them
 * @throws NumericError naming the first element that is NaN or infinite
 */
export function fitScales(
  weight: Tensor<'f32'>,
  scheme: Scheme,
  fit: ScaleFit,
  importance?: Float32Array,
  kernels?: Pick<Kernels, 'grids'>,
): FittedScales {
  const { data } = weight;
  const { rows, columns, tileRows, tileColumns, scaleRows, scaleColumns } = tiling(scheme.granularity, weight.shape);
  const scales = new Float32Array(scaleRows * scaleColumns);
  const zeros = new Float32Array(scales.length);
  const flat = tileRows === 1;

  /**
   * Tiles of one row are fitted together, one column of tiles after the other. Taller tiles are copied out one by one.
   */
  const fitTiles = () => {
    const panelRows = flat ? rows : 1;
    const [scale, zero] = [new Float32Array(panelRows), new Float32Array(panelRows)];
    for (let block = 0; block < (flat ? 1 : scaleRows); block++) {
      const top = block * tileRows;
      const height = flat ? rows : Math.min(tileRows, rows - top);
      for (let group = 0; group < scaleColumns; group++) {
        const left = group * tileColumns;
        const width = Math.min(tileColumns, columns - left);
        fit.fit({
          values: gather(data, columns, [top, height], [left, width]),
          rows: panelRows,
          columns: flat ? width : width * height,
          scheme,
          // Each row of a tile uses the same weights of columns.
          importance:
            importance &&
            (flat
              ? importance.subarray(left, left + width)
              : Float32Array.from(
                  { length: height * width },
                  (_, i) =>
                    importance[((top + Math.floor(i / width)) * columns + left + (i % width)) % importance.length],
                )),
          scale,
          zero,
        });
        for (let row = 0; row < panelRows; row++) {
          const index = (flat ? row : block) * scaleColumns + group;
          scales[index] = scale[row];
          zeros[index] = zero[row];
        }
      }
    }
  };

  const groups = {
    values: data,
    rows,
    columns,
    groupSize: tileColumns,
    scheme,
    importance,
    scale: scales,
    zero: zeros,
  };
  if (!(kernels && flat && scales.length > 0 && fit.fitGroups?.(groups, kernels.grids))) fitTiles();
  if (!allFinite(scales)) throw notFinite(data);
  const storedScales = scheme.scaleStorage.store(scales);
  return {
    scales: storedScales.effective,
    ...(scheme.zeroPoint === 'none' ? {} : { zeroPoints: zeros }),
    storedScales,
  };
}

/** A rectangle of a matrix as a dense array; a view if it has all columns. */
function gather(
  data: Float32Array,
  columns: number,
  [top, height]: readonly [number, number],
  [left, width]: readonly [number, number],
): Float32Array {
  if (width === columns) return data.subarray(top * columns, (top + height) * columns);
  const panel = new Float32Array(height * width);
  for (let row = 0, i = 0; row < height; row++) {
    const start = (top + row) * columns + left;
    // A loop is faster than a view and a copy for the few columns of a group.
    for (let j = start; j < start + width; j++) panel[i++] = data[j];
  }
  return panel;
}

/** The error for weights with NaN or an infinity, with the index of the first one. */
export function notFinite(data: Float32Array): NumericError {
  const index = data.findIndex((x) => !Number.isFinite(x));
  return new NumericError(
    index < 0
      ? 'a fitted scale is not finite although all weights are: the values are too large for f32 arithmetic'
      : `weight element ${index} is ${data[index]}: NaN and infinities cannot be quantized, repair the checkpoint first`,
  );
}
