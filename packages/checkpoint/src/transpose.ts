import { type Tensor, tensor } from '@q/core';

/** `[rows, columns]` -> `[columns, rows]`: for linears that a file stores `[in, out]`, on reading and writing. */
export function transpose({ shape: [rows, columns], data }: Tensor<'f32'>): Tensor<'f32'> {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j];
  return tensor('f32', [columns, rows], out);
}
