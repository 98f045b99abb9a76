import {
  type ActivationScheme,
  absMax,
  dequantize,
  type Kernels,
  largestInt8Code,
  quantize,
  quantizeInt8Input,
  type Scheme,
  scaleColumns,
  type Tensor,
} from '@q/core';

/** A linear whose input is smoothed. */
export interface Consumer {
  readonly weight: Tensor<'f32'>;
  readonly scheme: Scheme;
}

/** Inputs that several linears share. */
export interface SharedInput {
  /** `[tokens, width]` */
  readonly rows: Float32Array;
  readonly width: number;
  /** Largest magnitude of each channel over all calibration tokens `[width]`, which a static scale must cover. */
  readonly maxima: ArrayLike<number>;
}

/**
 * Error of the quantized product after smoothing, `sum over consumers ||X W^T - Q(X/s) Q(W s)^T||^2 / ||X W^T||^2`,
 * with the grids that are used at run time: the objective of the search for alpha.
 */
export async function productError(
  input: SharedInput,
  consumers: readonly Consumer[],
  activation: ActivationScheme,
  scales: Float32Array,
  kernels: Kernels,
): Promise<number> {
  const { rows, width, maxima } = input;
  const smoothed = new Float32Array(rows.length);
  for (let i = 0, j = 0; i < rows.length; i++, j = j + 1 === width ? 0 : j + 1) smoothed[i] = rows[i] / scales[j];
  const {
    codes,
    scales: tokenScales,
    tokens,
  } = quantizeInt8Input(smoothed, width, calibrated(activation, maxima, scales));
  const rounded = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++)
    rounded[i] = codes[i] * (tokenScales.length === 1 ? tokenScales[0] : tokenScales[Math.floor(i / width)]);
  let total = 0;
  for (const { weight, scheme } of consumers) {
    const shape = { m: tokens, n: weight.shape[0], k: width, transposeB: true };
    const grid = quantize(scaleColumns(weight, scales), scheme, { fit: absMax({ range: 'narrow' }), kernels });
    const exact = await kernels.matmul({ a: rows, b: weight.data, ...shape });
    const found = await kernels.matmul({ a: rounded, b: dequantize(grid).data, ...shape });
    let [error, norm] = [0, 0];
    for (let i = 0; i < exact.length; i++) {
      error += (exact[i] - found[i]) ** 2;
      norm += exact[i] ** 2;
    }
    if (norm > 0) total += error / norm;
  }
  return total;
}

/** A static scheme whose scale covers every smoothed calibration input. */
function calibrated(activation: ActivationScheme, maxima: ArrayLike<number>, scales: Float32Array): ActivationScheme {
  if (activation.scheme.dynamic) return activation;
  let largest = 0;
  for (let j = 0; j < scales.length; j++) largest = Math.max(largest, maxima[j] / scales[j]);
  return { ...activation, scale: largest / largestInt8Code };
}
