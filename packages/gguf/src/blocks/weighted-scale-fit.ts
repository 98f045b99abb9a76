import { nearestCode } from './nearest-int.js';

const f = Math.fround;
/** Below this magnitude a group counts as zeros. */
export const leastMagnitude = f(1e-15);

/**
 * Finds `x = scale code` of least squares weighted by x^2, codes `-half..half-1` (ggml-quants.c, qx of type 1): nineteen ranges around
 * `half` are rounded, the scale is the least squares' solution for the best one.
 * @param codes out: the codes, `half` added; zeros where all of x is next to nothing
 */
export function fitScale(x: Float32Array, half: number, codes: Uint8Array): number {
  let [largest, magnitude] = [0, 0];
  for (const value of x) {
    if (Math.abs(value) > magnitude) {
      magnitude = Math.abs(value);
      largest = value;
    }
  }
  if (magnitude < leastMagnitude) {
    codes.fill(0);
    return 0;
  }
  const sums = (inverse: number): readonly [xl: number, ll: number] => {
    let [xl, ll] = [0, 0];
    for (const value of x) {
      const code = nearestCode(f(inverse * value), -half, half - 1);
      const weight = f(value * value);
      xl = f(xl + f(f(weight * value) * code));
      ll = f(ll + f(f(weight * code) * code));
    }
    return [xl, ll];
  };
  let chosen = f(-half / largest);
  const [xl, ll] = sums(chosen);
  let scale = ll === 0 ? 0 : f(xl / ll);
  let best = f(scale * xl);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    const inverse = f(-f(half + f(f(0.1) * step)) / largest);
    const [xl, ll] = sums(inverse);
    if (ll > 0 && f(xl * xl) > f(best * ll)) {
      scale = f(xl / ll);
      best = f(scale * xl);
      chosen = inverse;
    }
  }
  for (let i = 0; i < x.length; i++) codes[i] = half + nearestCode(f(chosen * x[i]), -half, half - 1);
  return scale;
}
