import { type OutputDescent, type OutputDescentArgs, rowsTogether } from '../contracts/descent.js';
import { roundingOf } from './descent.js';

/** Coordinate descent across outputs by its definition, in f64. It keeps D H up to date. */
export function openOutputDescent(args: OutputDescentArgs): OutputDescent {
  const { rows, columns, target, hessian, outputs, groups, group, scales, codes } = args;
  const { unit, codeOf, difference } = roundingOf(args);
  const products = new Float64Array(rows * columns);
  const change = (row: number, j: number, by: number): void => {
    difference[row * columns + j] += by;
    for (let k = 0; k < columns; k++) products[row * columns + k] += by * hessian[j * columns + k];
  };
  for (const [at, value] of difference.entries()) {
    difference[at] = 0;
    change(Math.floor(at / columns), at % columns, value);
  }
  /** `(G D H)` of a row and a column. */
  const slope = (row: number, j: number): number => {
    let sum = 0;
    for (let k = 0; k < rows; k++) sum += outputs[row * rows + k] * products[k * columns + j];
    return sum;
  };
  const gains = (first: number, count: number, start: number, end: number) => {
    const [numerators, curvatures] = [new Float32Array(count), new Float32Array(count ** 2)];
    for (let i = 0; i < count; i++) {
      const row = first + i;
      for (let j = start; j < end; j++) numerators[i] += unit(row, j) * slope(row, j);
      for (let k = 0; k < count; k++) {
        let sum = 0;
        for (let a = start; a < end; a++)
          for (let b = start; b < end; b++) sum += unit(row, a) * hessian[a * columns + b] * unit(first + k, b);
        curvatures[i * count + k] = outputs[row * rows + first + k] * sum;
      }
    }
    return { first, numerators, curvatures };
  };
  return {
    descend(start, end, fit) {
      for (let first = 0; first < rows; first += rowsTogether) {
        const count = Math.min(rowsTogether, rows - first);
        const steps = fit?.(gains(first, count, start, end));
        for (let i = 0; steps && i < count; i++)
          for (let j = start; j < end; j++) change(first + i, j, -steps[i] * unit(first + i, j));
        for (let j = start; j < end; j++)
          for (let row = first; row < first + count; row++) {
            const at = row * columns + j;
            const scale = scales[row * groups + group[j]];
            if (scale === 0) continue;
            const best = slope(row, j) / (outputs[row * (rows + 1)] * hessian[j * (columns + 1)]);
            codes[at] = codeOf(unit(row, j) + best / scale, row, j);
            change(row, j, target[at] - unit(row, j) * scale - difference[at]);
          }
      }
    },
    close() {},
  };
}
