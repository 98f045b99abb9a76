import type { RowErrorArgs } from '../contracts/kernels.js';

/** Reference for the errors of rows `||d R||^2`, in f64. */
export function rowErrors({ difference, factor, rows, columns }: RowErrorArgs): Float64Array {
  const errors = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let i = 0; i <= j; i++) sum += difference[row * columns + i] * factor[i * columns + j];
      errors[row] += sum * sum;
    }
  }
  return errors;
}
