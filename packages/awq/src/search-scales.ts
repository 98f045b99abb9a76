import { NumericError } from '@q/core';

/** Error of the consumers when channel j is scaled by `s_j` before rounding and divided by it afterwards. */
export type ScaleError = (scales: Float32Array) => Promise<number>;

export interface ScaleSearch {
  readonly scales: Float32Array;
  /** 0: scaling does not pay, all scales are 1. */
  readonly ratio: number;
  readonly error: number;
  readonly errorUnscaled: number;
  readonly deadChannels: number;
}

/**
 * Scales of one ratio: `a^r`, divided by `sqrt(max * min)` (papers.md 2.2). A channel that no token excites has no magnitude to
 * go by: it keeps scale 1 and has no say in the normalisation.
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

/**
 * Tries the ratios `0, 1/points, ..., (points-1)/points` and keeps the best; the smaller of two equal ones.
 * @throws NumericError when not even the unscaled weights have a finite error
 */
export async function searchScales(
  magnitudes: Float64Array,
  channels: Int32Array,
  points: number,
  error: ScaleError,
): Promise<ScaleSearch> {
  let best: { scales: Float32Array; ratio: number; error: number } | undefined;
  let errorUnscaled = Number.NaN;
  for (let i = 0; i < points; i++) {
    const scales =
      i === 0 ? new Float32Array(magnitudes.length).fill(1) : scalesOfRatio(magnitudes, channels, i / points);
    const found = await error(scales);
    if (i === 0) errorUnscaled = found;
    if (Number.isFinite(found) && (!best || found < best.error)) best = { scales, ratio: i / points, error: found };
    // Nothing can be better than this, and nothing is scaled for nothing.
    if (i === 0 && found === 0) break;
  }
  if (!best) throw new NumericError('awq: the error of every candidate is infinite or NaN: the block overflows f32');
  const deadChannels = magnitudes.reduce((count, a) => count + (a > 0 ? 0 : 1), 0);
  return { ...best, errorUnscaled, deadChannels };
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
