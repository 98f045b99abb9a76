import type { Kernels } from '@q/core';

/** GPTQ's default damping, as a share of the mean diagonal. */
const damping = 0.01;

/**
 * Mean variance of inputs given all later ones, as a share of their mean variance: `sum R_jj^2 / sum H_jj` with `H = R
 * R^T`. A column's rounding error costs `R_jj^2` if later columns compensate for it, and `H_jj` if nothing does.
 * @param inputs second moments `[width, width]`
 * @returns 1 when the matrix cannot be factored
 */
export async function unexplainedShare(inputs: Float32Array, width: number, kernels: Kernels): Promise<number> {
  let trace = 0;
  for (let j = 0; j < width; j++) trace += inputs[j * width + j];
  const ridge = (damping * trace) / width;
  const diagonal = Float64Array.from({ length: width }, (_, j) => inputs[j * width + j] + ridge);
  const out = new Float32Array(width * width);
  const order = Int32Array.from({ length: width }, (_, j) => j);
  if (!(trace > 0) || !(await kernels.cholesky({ a: inputs, n: width, form: 'reversed-upper', order, diagonal, out })))
    return 1;
  let unexplained = 0;
  for (let j = 0; j < width; j++) unexplained += out[j * width + j] ** 2;
  return unexplained / (trace + width * ridge);
}
