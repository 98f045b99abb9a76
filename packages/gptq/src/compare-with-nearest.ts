import { dequantize, type Kernels, quantize, type ScaleFit, type Scheme, type Tensor, tensor, tiling } from '@q/core';
import { separateStorages } from './separate-storages.js';

/** Multiplications that the error of either solution may cost. */
const comparedWork = 2 ** 27;
/** Rows that say enough about a layer, however wide it is: at 4,096 columns both errors are then 6 % of the sweep. */
const fewestCompared = 128;

export interface SolvedLayer {
  /** `[rows, columns]`, columns as in the file. */
  readonly weight: Tensor<'f32'>;
  /** What was aimed at `[rows, columns]`, columns in the order of `permutation`, if not at the weight. */
  readonly target?: Float32Array;
  readonly permutation: Int32Array;
  /** R of `H = R R^T` `[columns, columns]`, in the order of `permutation`. */
  readonly factor: Float32Array;
  /** `||D R||^2` of each row as the sweep has it, or, where that no longer holds, `D = target - Q`, transposed: `[columns, rows]`. */
  readonly solution: { readonly rowLoss: Float64Array } | { readonly difference: Float32Array };
  readonly scheme: Scheme;
  readonly fit: ScaleFit;
}

/**
 * `||D R||^2` of a solution and of rounding the weight to nearest, both over the same rows: all of a small layer, evenly
 * spaced ones of a large one. Where rows have grids of their own only the compared ones are rounded.
 */
export async function compareWithNearest(
  { weight, target, permutation, factor, solution, scheme, fit }: SolvedLayer,
  kernels: Kernels,
): Promise<{ readonly loss: number; readonly rtnLoss: number }> {
  const [rows, columns] = weight.shape;
  const count = Math.min(rows, Math.max(fewestCompared, Math.floor(comparedWork / columns ** 2)));
  const compared = Int32Array.from({ length: count }, (_, i) => Math.floor((i * rows) / count));

  const ownGrids =
    tiling(scheme.granularity, weight.shape).tileRows === 1 && separateStorages.has(scheme.scaleStorage.name);
  const part = ownGrids ? tensor('f32', [count, columns], rowsOf(weight.data, compared, columns)) : weight;
  const nearest = dequantize(quantize(part, scheme, { fit, grids: kernels.grids })).data;

  const difference = 'difference' in solution ? solution.difference : undefined;
  const own = new Float32Array(difference ? count * columns : 0);
  const other = new Float32Array(count * columns);
  compared.forEach((row, i) => {
    const from = (ownGrids ? i : row) * columns;
    for (let j = 0; j < columns; j++) {
      if (difference) own[i * columns + j] = difference[j * rows + row];
      const aim = target ? target[row * columns + j] : weight.data[row * columns + permutation[j]];
      other[i * columns + j] = aim - nearest[from + permutation[j]];
    }
  });
  const error = async (difference: Float32Array) =>
    (await kernels.rowErrors({ difference, factor, rows: count, columns })).reduce((sum, row) => sum + row, 0);
  const loss = 'rowLoss' in solution ? compared.reduce((sum, row) => sum + solution.rowLoss[row], 0) : await error(own);
  return { loss, rtnLoss: await error(other) };
}

function rowsOf(x: Float32Array, rows: Int32Array, columns: number): Float32Array {
  const out = new Float32Array(rows.length * columns);
  rows.forEach((row, i) => {
    out.set(x.subarray(row * columns, (row + 1) * columns), i * columns);
  });
  return out;
}
