import type { NumberFormat } from '../contracts/number-format.js';
import { roundHalfEven } from '../dtypes/round.js';

/** Shares of the range to try, at both ends together and at one end at a time. */
const shares = Array.from({ length: 12 }, (_, i) => 1 - i / 24);
const candidates: readonly (readonly [low: number, high: number])[] = [
  ...shares.map((share) => [share, share] as const),
  ...shares.slice(1).flatMap((share) => [[share, 1] as const, [1, share] as const]),
];

/**
 * Finds the scale and real zero point `x = (q - zero) * scale` of least weighted squared error. For the codes of each
 * shrunken range it computes the line through the points `(q, x)` (weighted linear regression), and keeps the line with
 * the least error.
 * @returns scale 0 for values that are all zero
 */
export function searchAffine(
  x: Float32Array,
  { min, max }: NumberFormat,
  importance?: Float32Array,
): [scale: number, zero: number] {
  let [bottom, top] = [0, 0];
  for (let j = 0; j < x.length; j++) {
    bottom = Math.min(bottom, x[j]);
    top = Math.max(top, x[j]);
  }
  if (bottom === top) return [0, min];
  let best = Number.POSITIVE_INFINITY;
  let scale = Math.fround((top - bottom) / (max - min)) || 2 ** -149;
  let zero = min - bottom / scale;
  for (const [lowShare, highShare] of candidates) {
    const step = (top * highShare - bottom * lowShare) / (max - min);
    if (!(step > 0)) continue;
    const offset = min - (bottom * lowShare) / step;
    let [mass, q1, q2, x1, qx] = [0, 0, 0, 0, 0];
    for (let j = 0; j < x.length; j++) {
      const v = x[j] / step + offset;
      const q = v < min ? min : v > max ? max : roundHalfEven(v);
      const weight = importance ? importance[j] : 1;
      mass += weight;
      q1 += weight * q;
      q2 += weight * q * q;
      x1 += weight * x[j];
      qx += weight * q * x[j];
    }
    const determinant = mass * q2 - q1 * q1;
    if (!(determinant > 1e-12 * mass * q2)) continue;
    const slope = (mass * qx - q1 * x1) / determinant;
    const intercept = (x1 - slope * q1) / mass;
    // Squared error of the line minus the sum of squares of x, which is the same for all candidates.
    const error = -slope * qx - intercept * x1;
    if (error < best && slope > 0) {
      best = error;
      scale = Math.fround(slope) || 2 ** -149;
      zero = -intercept / scale;
    }
  }
  return [scale, zero];
}
