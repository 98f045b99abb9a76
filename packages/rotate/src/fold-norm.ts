import { NumericError } from '@q/core';

/** A norm's parameters `[size]`; `bias` is absent in RMS norms. */
export interface NormParameters {
  readonly module: string;
  readonly gain: Float32Array;
  readonly bias?: Float32Array;
}

/**
 * `W diag(gain)`: a linear that reads `n * gain + bias` reads the normalized `n` instead.
 * @param weight `[rows, size]`, overwritten
 */
export function foldGain(weight: Float32Array, { gain }: NormParameters): void {
  const size = gain.length;
  for (let i = 0; i < weight.length; i++) weight[i] *= gain[i % size];
}

/**
 * `c + W bias`: the second part of the fold, for a linear with a bias c `[rows]`. `weight` is the one before
 * `foldGain`.
 */
export function foldBias(own: Float32Array, weight: Float32Array, { bias }: NormParameters): Float32Array {
  if (!bias) return own;
  const size = bias.length;
  return own.map((value, row) => {
    let sum = value;
    for (let i = 0; i < size; i++) sum += weight[row * size + i] * bias[i];
    return sum;
  });
}

/** A shift this many times its gain would lose the four spare digits of f32. */
const largestShift = 1e4;

/**
 * `bias / gain`: the bias that a norm keeps when a linear that reads it has no bias (heads):
 * `n * gain + bias = (n + bias / gain) * gain`.
 * @throws NumericError naming the norm and the channel when a gain is too small to divide by
 */
export function keptBias({ module, gain, bias }: NormParameters): Float32Array {
  return gain.map((value, i) => {
    const shift = bias?.[i] ?? 0;
    if (Math.abs(shift) <= largestShift * Math.abs(value)) return shift === 0 ? 0 : shift / value;
    throw new NumericError(
      `${module}: channel ${i} has weight ${value} and bias ${shift}: the module that reads it has no bias, so the bias would be divided by the weight. Leave this model unrotated`,
    );
  });
}
