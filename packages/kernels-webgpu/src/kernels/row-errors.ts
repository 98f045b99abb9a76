import type { RowErrorArgs } from '@q/core';
import type { Gpu } from '../device/gpu.js';
import { matmul } from './matmul.js';

/** `||d R||^2` of each row. The product is computed on the device; its squares are summed in f64. */
export async function rowErrors(gpu: Gpu, { difference, factor, rows, columns }: RowErrorArgs): Promise<Float64Array> {
  const product = await matmul(gpu, { a: difference, b: factor, m: rows, n: columns, k: columns });
  const errors = new Float64Array(rows);
  for (let row = 0; row < rows; row++) for (let j = 0; j < columns; j++) errors[row] += product[row * columns + j] ** 2;
  return errors;
}
