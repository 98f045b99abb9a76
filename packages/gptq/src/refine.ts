import type { Kernels, RoundingGrid, ScaleStorage } from '@q/core';

/** A rounded layer, columns in the order of `hessian`. `codes`, `scales` and `difference` are improved in place. */
export interface RefineProblem {
  readonly rows: number;
  readonly columns: number;
  /** What the values aim at, T `[rows, columns]`. */
  readonly target: Float32Array;
  /** Damped H `[columns, columns]`, f32, symmetric. */
  readonly hessian: Float32Array;
  readonly grid: RoundingGrid;
  readonly storage: ScaleStorage;
  /** Group of each column. */
  readonly group: Int32Array;
  readonly groups: number;
  readonly blockSize: number;
  readonly codes: Uint8Array;
  /** `[rows, groups]`, as stored. */
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  /** `D = T - Q`, transposed: `[columns, rows]`. */
  readonly difference: Float32Array;
  /** False for grids that rows share or whose storage ties scales together: they stay as they are. */
  readonly refitScales: boolean;
}

/**
 * Rounds of what GPTQ leaves undone, each of which can only lower `tr(D H D^T)` (up to the rounding of stored scales):
 * first the scales that fit the codes best, then every code against all others (cyclic coordinate descent).
 */
export async function refine(problem: RefineProblem, rounds: number, kernels: Kernels): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    if (problem.refitScales) await refitScales(problem, kernels);
    await coordinateDescent(problem, kernels);
  }
}

/**
 * Group by group, `s += (u . D H) / (u H u^T)` with u the integers (or levels) of the group: the least-squares scale of
 * fixed codes while all other groups stay.
 */
export async function refitScales(problem: RefineProblem, kernels: Kernels): Promise<void> {
  const { rows, columns, hessian, group, groups, scales, zeros, codes, difference, storage } = problem;
  const levels = codeLevels(problem.grid);
  for (let index = 0; index < groups; index++) {
    const members = Int32Array.from({ length: columns }, (_, j) => j).filter((j) => group[j] === index);
    const width = members.length;
    if (width === 0) continue;
    const panel = new Float32Array(columns * width);
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < width; j++) panel[i * width + j] = hessian[i * columns + members[j]];
    const square = new Float32Array(width * width);
    for (let i = 0; i < width; i++) square.set(panel.subarray(members[i] * width, (members[i] + 1) * width), i * width);
    const u = new Float32Array(rows * width);
    for (let row = 0; row < rows; row++) {
      const zero = zeros[row * groups + index];
      for (let j = 0; j < width; j++) u[row * width + j] = levels[codes[row * columns + members[j]]] - zero;
    }
    const gradient = await kernels.matmul({
      a: difference,
      b: panel,
      m: rows,
      n: width,
      k: columns,
      transposeA: true,
    });
    const curvature = await kernels.matmul({ a: u, b: square, m: rows, n: width, k: width });
    const fitted = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      let numerator = 0;
      let denominator = 0;
      for (let at = row * width; at < (row + 1) * width; at++) {
        numerator += u[at] * gradient[at];
        denominator += u[at] * curvature[at];
      }
      const old = scales[row * groups + index];
      const step = denominator > 0 ? numerator / denominator : 0;
      // A scale that would vanish or change its sign belongs to codes that say nothing: it stays.
      fitted[row] = (old + step) * old > 0 ? old + step : old;
    }
    const stored = storage.store(fitted).effective;
    for (let row = 0; row < rows; row++) {
      const at = row * groups + index;
      const step = stored[row] - scales[at];
      if (step === 0) continue;
      scales[at] = stored[row];
      for (let j = 0; j < width; j++) difference[members[j] * rows + row] -= step * u[row * width + j];
    }
  }
}

/**
 * One sweep: column j of each row goes to the grid point nearest to `t_j + (D H)_j / H_jj` without its own share, which
 * minimises `tr(D H D^T)` over that code alone. In blocks as in GPTQ: one product gives what all other columns
 * contribute, and inside the block the kernel of the GPTQ sweep does the rest, with H in the place of R.
 */
export async function coordinateDescent(problem: RefineProblem, kernels: Kernels): Promise<void> {
  const { rows, columns, target, hessian, grid, group, groups, blockSize, scales, zeros, codes, difference } = problem;
  for (let start = 0; start < columns; start += blockSize) {
    const width = Math.min(blockSize, columns - start);
    const panel = new Float32Array(columns * width);
    const weight = new Float32Array(rows * width);
    const factor = new Float32Array(width * width);
    const own = new Float32Array(width * width);
    for (let i = 0; i < columns; i++)
      panel.set(hessian.subarray(i * columns + start, i * columns + start + width), i * width);
    for (let row = 0; row < rows; row++)
      weight.set(target.subarray(row * columns + start, row * columns + start + width), row * width);
    // The kernel adds the new differences of earlier columns; the old ones of these and of the column itself go out.
    for (let i = 0; i < width; i++) {
      for (let j = i; j < width; j++) {
        factor[i * width + j] = panel[(start + i) * width + j];
        own[i * width + j] = -factor[i * width + j];
      }
    }
    const feedback = await kernels.matmul({
      a: difference,
      b: panel,
      m: rows,
      n: width,
      k: columns,
      transposeA: true,
    });
    await kernels.matmul({
      a: difference.subarray(start * rows, (start + width) * rows),
      b: own,
      m: rows,
      n: width,
      k: width,
      transposeA: true,
      out: feedback,
      accumulate: true,
    });
    const blockCodes = new Uint8Array(rows * width);
    await kernels.gptqBlock({
      codes: blockCodes,
      difference: difference.subarray(start * rows, (start + width) * rows),
      rows,
      columns: width,
      weight,
      feedback,
      factor,
      scales,
      zeros,
      groups,
      group: group.subarray(start, start + width),
      grid,
      loss: new Float64Array(rows),
    });
    for (let row = 0; row < rows; row++)
      codes.set(blockCodes.subarray(row * width, (row + 1) * width), row * columns + start);
  }
}

/** The value of each code before zero point and scale. */
function codeLevels(grid: RoundingGrid): Float32Array {
  if (grid.kind === 'linear')
    return Float32Array.from({ length: grid.max - grid.min + 1 }, (_, code) => grid.min + code);
  const levels = new Float32Array(256);
  grid.codes.forEach((code, i) => {
    levels[code] = grid.levels[i];
  });
  return levels;
}
