import { CalibrationError, NumericError, ShapeError, type Tensor } from '@q/core';

/** Divisors of the formula and its result are at least these, as in the official implementation. */
const smallestWeightMaximum = 1e-5;
const smallestScale = 1e-4;

/**
 * Smoothing factors of one edge (SmoothQuant, eq. 4): `s_j = max|X_j|^alpha / max|W_j|^(1-alpha)`, with the weight's
 * maximum over all linears that read the channel.
 *
 * A channel that was never active has the factor 1. For a channel that no weight reads, the weight's maximum is the
 * lower limit above.
 * @param inputMaxima `[width]`, largest magnitude of each input channel
 * @param consumers weights `[out, width]` of all linears that share the input
 * @param alpha migration strength in [0, 1]: 0 evens the weights, 1 the activations
 * @returns `[width]`, positive and finite
 * @throws CalibrationError when every maximum is 0, NumericError when one is not finite, ShapeError
 */
export function smoothingScales(
  inputMaxima: ArrayLike<number>,
  consumers: readonly Tensor<'f32'>[],
  alpha: number,
): Float32Array {
  const width = inputMaxima.length;
  const weightMaxima = columnMaxima(consumers, width);
  const scales = new Float32Array(width);
  let active = 0;
  for (let j = 0; j < width; j++) {
    const input = inputMaxima[j];
    if (!Number.isFinite(input) || !Number.isFinite(weightMaxima[j])) {
      throw new NumericError(
        `channel ${j}: the largest input is ${input} and the largest weight ${weightMaxima[j]}; both must be finite`,
      );
    }
    if (input > 0) active++;
    const ratio = input ** alpha / Math.max(weightMaxima[j], smallestWeightMaximum) ** (1 - alpha);
    scales[j] = input > 0 ? Math.max(ratio, smallestScale) : 1;
  }
  if (active === 0 && width > 0)
    throw new CalibrationError(
      `all ${width} input channels were 0 on every calibration token: nothing can be smoothed`,
    );
  return scales;
}

/** Largest magnitude of each column over several matrices `[out, width]`. */
function columnMaxima(weights: readonly Tensor<'f32'>[], width: number): Float32Array {
  const maxima = new Float32Array(width);
  for (const { data, shape } of weights) {
    if (shape.length !== 2 || shape[1] !== width)
      throw new ShapeError(`a consumer [${shape}] does not read ${width} channels`);
    for (let i = 0, j = 0; i < data.length; i++, j = j + 1 === width ? 0 : j + 1) {
      const magnitude = Math.abs(data[i]);
      if (magnitude > maxima[j] || Number.isNaN(magnitude)) maxima[j] = magnitude;
    }
  }
  return maxima;
}
