import type { Descent, DescentArgs } from '../contracts/descent.js';
import { roundHalfEven } from '../dtypes/round.js';

/** Codes of a descent, and `D = T - Q` `[rows, columns]` in f64. */
export function roundingOf(args: DescentArgs) {
  const { rows, columns, target, grid, groups, group, scales, zeros, codes } = args;
  const levelOf = (code: number) => (grid.kind === 'linear' ? code + grid.min : grid.levels[grid.codes.indexOf(code)]);
  const unit = (row: number, j: number) => levelOf(codes[row * columns + j]) - zeros[row * groups + group[j]];
  /** The code whose level, without the zero point, is nearest. */
  const codeOf = (wantedUnit: number, row: number, j: number): number => {
    const wanted = wantedUnit + zeros[row * groups + group[j]];
    if (grid.kind === 'linear') return Math.min(grid.max, Math.max(grid.min, roundHalfEven(wanted))) - grid.min;
    let best = 0;
    for (const [i, level] of grid.levels.entries())
      if (Math.abs(level - wanted) < Math.abs(grid.levels[best] - wanted)) best = i;
    return grid.codes[best];
  };
  const difference = Float64Array.from(target.subarray(0, rows * columns), (value, at) => {
    const [row, j] = [Math.floor(at / columns), at % columns];
    return value - unit(row, j) * scales[row * groups + group[j]];
  });
  return { unit, codeOf, difference };
}

/** Coordinate descent by its definition, in f64; each code is written as soon as it is found. */
export function openDescent(args: DescentArgs): Descent {
  const { rows, columns, target, hessian, groups, group, scales, codes } = args;
  const { unit, codeOf, difference } = roundingOf(args);
  const product = (row: number, j: number) => {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += difference[row * columns + i] * hessian[i * columns + j];
    return sum;
  };
  return {
    gradient() {},
    scaleGains(start, end) {
      const [numerators, curvatures] = [new Float32Array(rows), new Float32Array(rows)];
      for (let row = 0; row < rows; row++) {
        let [first, second] = [0, 0];
        for (let j = start; j < end; j++) {
          first += unit(row, j) * product(row, j);
          for (let i = start; i < end; i++) second += unit(row, i) * hessian[i * columns + j] * unit(row, j);
        }
        numerators[row] = first;
        curvatures[row] = second;
      }
      return { numerators, curvatures };
    },
    descend(start, end, steps) {
      for (let row = 0; row < rows; row++) {
        for (let j = start; j < end; j++) if (steps) difference[row * columns + j] -= steps[row] * unit(row, j);
        for (let j = start; j < end; j++) {
          const [at, g] = [row * columns + j, row * groups + group[j]];
          const wanted = target[at] + product(row, j) / hessian[j * (columns + 1)] - difference[at];
          codes[at] = codeOf(wanted / scales[g], row, j);
          difference[at] = target[at] - unit(row, j) * scales[g];
        }
      }
    },
    close() {},
  };
}
