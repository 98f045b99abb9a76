import { NumericError } from '@q/core';

/** Error of the consumers when channel j is scaled by `s_j` before rounding and divided by it afterwards. */
export type ScaleError = (scales: Float32Array) => Promise<number>;

export interface ScaleSearch {
  readonly scales: Float32Array;
  /** 0: scaling does not lower the error, and all scales are 1. */
  readonly ratio: number;
  readonly error: number;
  readonly errorUnscaled: number;
  readonly deadChannels: number;
  /** Number of candidates that were tried. */
  readonly tried: number;
}

/**
 * Scales of one ratio: `a^r`, divided by `sqrt(max * min)` (docs/reference/papers.md#awq). A channel without any
 * activation has no magnitude: it keeps scale 1, and does not affect the normalisation.
 * @param magnitudes mean `|x_j|` of each channel
 * @param channels producer channel of each; the copies of one share the mean of their magnitudes
 */
export function scalesOfRatio(magnitudes: Float64Array, channels: Int32Array, ratio: number): Float32Array {
  const shared = shareMagnitudes(magnitudes, channels);
  const raw = shared.map((a) => (a > 0 ? Math.max(a ** ratio, 1e-4) : 0));
  let [low, high] = [Number.POSITIVE_INFINITY, 0];
  for (const scale of raw) {
    if (scale === 0) continue;
    low = Math.min(low, scale);
    high = Math.max(high, scale);
  }
  const middle = high > 0 ? Math.sqrt(low * high) : 1;
  return Float32Array.from(raw, (scale) => (scale > 0 ? scale / middle : 1));
}

/** Every fourth point of the grid first, then the neighbours of the best at distance 2, then those at distance 1. */
const strides = [4, 2, 1];

/**
 * Finds the best of the ratios `0, 1/points, ..., (points-1)/points`; the smaller of two equal ones. The error is a
 * smooth function of the ratio except for the noise of rounding, so the search refines the grid around its best point:
 * it tries 9 of 20 ratios.
 * @param exhaustive tries all of them, as in the paper
 * @throws NumericError when not even the unscaled weights have a finite error
 */
export async function searchScales(
  magnitudes: Float64Array,
  channels: Int32Array,
  points: number,
  error: ScaleError,
  exhaustive = false,
): Promise<ScaleSearch> {
  const found = new Map<number, number>();
  const scalesAt = (i: number) =>
    i === 0 ? new Float32Array(magnitudes.length).fill(1) : scalesOfRatio(magnitudes, channels, i / points);
  const tryPoint = async (i: number) => {
    if (i >= 0 && i < points && !found.has(i)) found.set(i, await error(scalesAt(i)));
  };
  const best = () => {
    let at = -1;
    for (const [i, value] of [...found].sort(([a], [b]) => a - b))
      if (Number.isFinite(value) && !(value >= (found.get(at) ?? Number.POSITIVE_INFINITY))) at = i;
    return at;
  };
  await tryPoint(0);
  // An error of 0 cannot be improved, so the weights stay unscaled.
  if (found.get(0) !== 0) {
    const [first, ...finer] = exhaustive ? [1] : strides;
    for (let i = first; i < points; i += first) await tryPoint(i);
    for (const stride of finer) {
      const middle = best();
      if (middle < 0) continue;
      await tryPoint(middle - stride);
      await tryPoint(middle + stride);
    }
  }
  const at = best();
  if (at < 0) throw new NumericError('awq: the error of every candidate is infinite or NaN: the block overflows f32');
  const deadChannels = magnitudes.reduce((count, a) => count + (a > 0 ? 0 : 1), 0);
  return {
    scales: scalesAt(at),
    ratio: at / points,
    error: found.get(at) as number,
    errorUnscaled: found.get(0) as number,
    deadChannels,
    tried: found.size,
  };
}

function shareMagnitudes(magnitudes: Float64Array, channels: Int32Array): Float64Array {
  const sum = new Float64Array(magnitudes.length);
  const count = new Int32Array(magnitudes.length);
  channels.forEach((channel, j) => {
    sum[channel] += magnitudes[j];
    count[channel]++;
  });
  return Float64Array.from(channels, (channel) => sum[channel] / count[channel]);
}
