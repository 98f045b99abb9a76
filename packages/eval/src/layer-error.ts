import { ShapeError, type Tensor } from '@q/core';

/** Error of one quantized layer on its calibration inputs. */
export interface LayerError {
  /** `||X (W - Q)^T||^2 / ||X W^T||^2`. */
  readonly relative: number;
  /** Largest magnitude of `W - Q`. */
  readonly maxAbs: number;
}

/**
 * Error from the Hessian `H = X^T X` alone: `||X D^T||^2 = sum over rows of d H d^T`. f64 sums.
 * @param hessian `[in, in]`
 */
export function layerError(weight: Tensor<'f32'>, quantized: Tensor<'f32'>, hessian: ArrayLike<number>): LayerError {
  const [rows, columns] = weight.shape;
  if (`${quantized.shape}` !== `${weight.shape}` || hessian.length !== columns * columns) {
    throw new ShapeError(
      `weight [${weight.shape}], quantized [${quantized.shape}] and Hessian of ${hessian.length} elements do not fit`,
    );
  }
  const difference = new Float64Array(columns);
  let error = 0;
  let norm = 0;
  let maxAbs = 0;
  for (let row = 0; row < rows; row++) {
    const w = weight.data.subarray(row * columns, (row + 1) * columns);
    for (let j = 0; j < columns; j++) {
      difference[j] = w[j] - quantized.data[row * columns + j];
      maxAbs = Math.max(maxAbs, Math.abs(difference[j]));
    }
    error += quadraticForm(difference, hessian);
    norm += quadraticForm(w, hessian);
  }
  return { relative: norm > 0 ? error / norm : error === 0 ? 0 : Number.POSITIVE_INFINITY, maxAbs };
}

/** `v H v^T` using the symmetry of H. */
function quadraticForm(v: ArrayLike<number>, hessian: ArrayLike<number>): number {
  const n = v.length;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    if (v[i] === 0) continue;
    let dot = 0;
    const row = i * n;
    for (let j = 0; j < i; j++) dot += hessian[row + j] * v[j];
    sum += v[i] * (2 * dot + v[i] * hessian[row + i]);
  }
  return sum;
}
