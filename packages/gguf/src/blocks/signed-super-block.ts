import { nearestCode, nearestInt } from './nearest-int.js';
import { fitScale, largestOf } from './weighted-scale-fit.js';

const f = Math.fround;

/** The codes of all groups, rounded with the stored scales; for a scale of zero, the codes of the fit stay. */
export function roundGroups(x: Float32Array, scales: Float32Array, half: number, codes: Uint8Array): void {
  const group = x.length / scales.length;
  for (let j = 0; j < scales.length; j++) {
    if (scales[j] === 0) continue;
    for (let i = j * group; i < (j + 1) * group; i++)
      codes[i] = half + nearestCode(f(x[i] / scales[j]), -half, half - 1);
  }
}

/**
 * Scales of groups as integers from `-half` on: the largest one becomes `-half`, and the others follow.
 * @returns the factor of the others
 */
export function shareOfLargest(scales: Float32Array, half: number, codes: Int8Array): number {
  const largest = largestOf(scales);
  if (largest === 0) {
    codes.fill(-half);
    return 0;
  }
  const inverse = f(-half / largest);
  for (let j = 0; j < scales.length; j++)
    codes[j] = Math.max(-half, Math.min(half - 1, nearestInt(f(inverse * scales[j]))));
  return f(1 / inverse);
}

/** The same by weighted least squares. */
export function fittedShare(scales: Float32Array, half: number, codes: Int8Array, weights: Float32Array): number {
  const unsigned = new Uint8Array(scales.length);
  const d = fitScale(scales, half, unsigned, weights);
  for (let j = 0; j < scales.length; j++) codes[j] = unsigned[j] - half;
  return d;
}
