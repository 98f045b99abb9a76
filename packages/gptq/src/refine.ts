import type { Descent, Kernels, RoundingGrid, ScaleStorage } from '@q/core';

/** A rounded layer. `codes` and `scales` are improved in place. */
export interface RefineProblem {
  readonly rows: number;
  readonly columns: number;
  /** What the values aim at, T `[rows, columns]`. */
  readonly target: Float32Array;
  /** Damped H `[columns, columns]`, f32, symmetric. */
  readonly hessian: Float32Array;
  readonly grid: RoundingGrid;
  readonly storage: ScaleStorage;
  /** Group of each column; the columns of a group are consecutive. */
  readonly group: Int32Array;
  readonly groups: number;
  /** Columns of a block where scales stay as they are; else a block is a group. */
  readonly blockSize: number;
  /** `[rows, columns]` */
  readonly codes: Uint8Array;
  /** `[rows, groups]`, as stored. */
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  /** False for grids that rows share or whose storage ties scales together: they stay as they are. */
  readonly refitScales: boolean;
}

/** Values of the weight whose rows are refined together: with their target and differences they are in the kernels' memory. */
const valuesAtOnce = 4 << 20;

/**
 * Rounds of what GPTQ leaves undone, each of which can only lower `tr(D H D^T)`, `D = T - Q` (up to the rounding of stored
 * scales). Group by group: first the scale that fits the codes best while all other groups stay, `s += (u . D H) / (u H u^T)` with u the
 * integers (or levels) of the group; then every code of the group against all others (cyclic coordinate descent). One product of D with the
 * group's columns of H serves both.
 */
export async function refine(problem: RefineProblem, rounds: number, kernels: Kernels): Promise<void> {
  const { rows, columns, groups } = problem;
  const atOnce = Math.max(8, Math.floor(valuesAtOnce / columns / 8) * 8);
  for (let start = 0; start < rows; start += atOnce) {
    const end = Math.min(start + atOnce, rows);
    const own = <A extends Float32Array | Uint8Array>(of: A, width: number) =>
      of.subarray(start * width, end * width) as A;
    const part = {
      ...{ ...problem, rows: end - start, target: own(problem.target, columns), codes: own(problem.codes, columns) },
      ...{ scales: own(problem.scales, groups), zeros: own(problem.zeros, groups) },
    };
    await refineRows(part, rounds, kernels);
  }
}

async function refineRows(problem: RefineProblem, rounds: number, kernels: Kernels): Promise<void> {
  const blocks = blocksOf(problem);
  const resident = blocks.every(([start]) => start % 4 === 0) ? kernels.openDescent?.(problem) : undefined;
  const descent: PlainDescent = resident ?? plainDescent(problem, kernels);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [start, end] of blocks) {
        await descent.gradient(start, end);
        const steps = problem.refitScales ? await refitScale(problem, descent, start, end) : undefined;
        await descent.descend(start, end, steps);
      }
    }
  } finally {
    await descent.close();
  }
}

/** First columns and ends: of the groups, or of blocks where scales stay. */
function blocksOf({ columns, group, blockSize, refitScales }: RefineProblem): [number, number][] {
  const blocks: [number, number][] = [];
  for (let start = 0, end = 0; start < columns; start = end) {
    end = refitScales ? start + 1 : Math.min(start + blockSize, columns);
    while (refitScales && end < columns && group[end] === group[start]) end++;
    blocks.push([start, end]);
  }
  return blocks;
}

/** The new scale of a group where it is stored; gives by how much it has grown. */
async function refitScale(
  { rows, group, groups, scales, storage }: RefineProblem,
  descent: PlainDescent,
  start: number,
  end: number,
): Promise<Float32Array> {
  const { numerators, curvatures } = await descent.scaleGains(start, end);
  const index = group[start];
  const fitted = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const old = scales[row * groups + index];
    const step = curvatures[row] > 0 ? numerators[row] / curvatures[row] : 0;
    // A scale that would vanish or change its sign belongs to codes that say nothing: it stays.
    fitted[row] = (old + step) * old > 0 ? old + step : old;
  }
  const stored = storage.store(fitted).effective;
  return fitted.map((_, row) => {
    const at = row * groups + index;
    const step = stored[row] - scales[at];
    scales[at] = stored[row];
    return step;
  });
}

/** {@link Descent}, where products may take their time. */
type PlainDescent = {
  [Step in keyof Descent]: (
    ...args: Parameters<Descent[Step]>
  ) => ReturnType<Descent[Step]> | Promise<ReturnType<Descent[Step]>>;
};

/** By products and the sweep's kernel, with H in the place of R. */
function plainDescent(problem: RefineProblem, kernels: Kernels): PlainDescent {
  const { rows, columns, target, hessian, grid, group, groups, scales, zeros, codes } = problem;
  const levels = codeLevels(grid);
  /** Transposed: `[columns, rows]`. */
  const difference = new Float32Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      const [at, g] = [row * columns + j, row * groups + group[j]];
      const value = Math.fround(Math.fround(levels[codes[at]] - zeros[g]) * scales[g]);
      difference[j * rows + row] = target[at] - value;
    }
  }
  const square = (start: number, end: number) => {
    const width = end - start;
    const out = new Float32Array(width * width);
    for (let i = 0; i < width; i++)
      out.set(hessian.subarray((start + i) * columns + start, (start + i) * columns + end), i * width);
    return out;
  };
  let gradient: Float32Array = new Float32Array(0);
  let units: Float32Array = new Float32Array(0);
  let curvature: Float32Array = new Float32Array(0);
  return {
    async gradient(start, end) {
      const width = end - start;
      const panel = new Float32Array(columns * width);
      for (let i = 0; i < columns; i++) panel.set(hessian.subarray(i * columns + start, i * columns + end), i * width);
      gradient = await kernels.matmul({
        ...{ a: difference, b: panel, m: rows, n: width, k: columns },
        transposeA: true,
      });
    },
    async scaleGains(start, end) {
      const width = end - start;
      units = new Float32Array(rows * width);
      for (let row = 0; row < rows; row++) {
        const zero = zeros[row * groups + group[start]];
        for (let j = 0; j < width; j++) units[row * width + j] = levels[codes[row * columns + start + j]] - zero;
      }
      curvature = await kernels.matmul({ a: units, b: square(start, end), m: rows, n: width, k: width });
      const [numerators, curvatures] = [new Float32Array(rows), new Float32Array(rows)];
      for (let row = 0; row < rows; row++) {
        for (let at = row * width; at < (row + 1) * width; at++) {
          numerators[row] += units[at] * gradient[at];
          curvatures[row] += units[at] * curvature[at];
        }
      }
      return { numerators, curvatures };
    },
    async descend(start, end, steps) {
      const width = end - start;
      if (steps)
        for (let row = 0; row < rows; row++) {
          for (let j = 0; j < width; j++) {
            difference[(start + j) * rows + row] -= steps[row] * units[row * width + j];
            gradient[row * width + j] -= steps[row] * curvature[row * width + j];
          }
        }
      // The kernel adds the new differences of earlier columns; the old ones of these and of the column itself go out.
      const factor = square(start, end);
      const own = new Float32Array(width * width);
      for (let i = 0; i < width; i++)
        for (let j = 0; j < width; j++) {
          if (j >= i) own[i * width + j] = -factor[i * width + j];
          else factor[i * width + j] = 0;
        }
      const block = difference.subarray(start * rows, end * rows);
      const product = { a: block, b: own, m: rows, n: width, k: width, transposeA: true };
      await kernels.matmul({ ...product, out: gradient, accumulate: true });
      const blockCodes = new Uint8Array(rows * width);
      const weight = new Float32Array(rows * width);
      for (let row = 0; row < rows; row++)
        weight.set(target.subarray(row * columns + start, row * columns + end), row * width);
      await kernels.gptqBlock({
        ...{ codes: blockCodes, difference: block, rows, columns: width, weight, feedback: gradient, factor },
        ...{ scales, zeros, groups, group: group.subarray(start, end), grid, loss: new Float64Array(rows) },
      });
      for (let row = 0; row < rows; row++)
        codes.set(blockCodes.subarray(row * width, (row + 1) * width), row * columns + start);
    },
    close() {},
  };
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
