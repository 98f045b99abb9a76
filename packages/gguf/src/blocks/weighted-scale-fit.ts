import { nearestCode, nearestInt } from './nearest-int.js';

const f = Math.fround;
/** Below this magnitude a group counts as zeros. */
export const leastMagnitude = f(1e-15);

/** The first value of largest magnitude. */
export function largestOf(x: Float32Array): number {
  let [largest, magnitude] = [0, 0];
  for (const value of x) {
    if (Math.abs(value) > magnitude) {
      magnitude = Math.abs(value);
      largest = value;
    }
  }
  return largest;
}

/**
 * Finds `x = scale code` of weighted least squares, codes `-half..half-1` (make_qx_quants of ggml-quants.c). It rounds
 * nineteen ranges near `half`; the scale is the least-squares solution for the best one.
 * @param codes out: the codes plus `half`; zeros if all of x is nearly zero
 * @param weights x^2 when absent
 */
export function fitScale(x: Float32Array, half: number, codes: Uint8Array, weights?: Float32Array): number {
  const largest = largestOf(x);
  if (Math.abs(largest) < leastMagnitude) {
    codes.fill(0);
    return 0;
  }
  const sums = (inverse: number): readonly [xl: number, ll: number] => {
    let [xl, ll] = [0, 0];
    for (let i = 0; i < x.length; i++) {
      const code = nearestCode(f(inverse * x[i]), -half, half - 1);
      const weight = weights ? weights[i] : f(x[i] * x[i]);
      xl = f(xl + f(f(weight * x[i]) * code));
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

/**
 * The same for the scales of scales, which are not negative: codes `0..last` (make_qp_quants of ggml-quants.c). It
 * tries nine ranges, then each code by itself against all others.
 */
export function fitPositiveScale(x: Float32Array, last: number, codes: Uint8Array, weights: Float32Array): number {
  const largest = x.reduce((most, value) => Math.max(most, value), 0);
  if (largest < leastMagnitude) {
    codes.fill(0);
    return 0;
  }
  const error = (inverse: number, clamped: boolean) => {
    const scale = f(1 / inverse);
    let sum = 0;
    for (let i = 0; i < x.length; i++) {
      const code = nearestInt(f(inverse * x[i]));
      const off = f(x[i] - f(scale * (clamped ? Math.min(last, code) : code & 255)));
      sum = f(sum + f(f(weights[i] * off) * off));
    }
    return sum;
  };
  let chosen = f(last / largest);
  let best = error(chosen, false);
  for (let step = -4; step <= 4; step++) {
    if (step === 0) continue;
    const inverse = f(f(f(f(0.1) * step) + last) / largest);
    const sum = error(inverse, true);
    if (sum < best) [best, chosen] = [sum, inverse];
  }
  let [xl, ll] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const code = Math.min(last, nearestInt(f(chosen * x[i])));
    codes[i] = code;
    xl = f(xl + f(f(weights[i] * x[i]) * code));
    ll = f(ll + f(f(weights[i] * code) * code));
  }
  return descend(x, codes, weights, [xl, ll], { clamp: (code) => Math.min(last, code), bothPositive: true });
}

/**
 * Finds `x = scale code` with weights x^2, codes `-half..half-1`, by rounding one range and then optimising each code
 * by itself against all others (make_q3_quants of ggml-quants.c).
 * @param codes out: the codes plus `half`; zeros if all of x is nearly zero
 */
export function fitScaleByDescent(x: Float32Array, half: number, codes: Uint8Array): number {
  const largest = largestOf(x);
  if (Math.abs(largest) < leastMagnitude) {
    codes.fill(0);
    return 0;
  }
  const inverse = f(-half / largest);
  const clamp = (code: number) => Math.max(-half, Math.min(half - 1, code));
  const signed = new Int8Array(x.length);
  const weights = x.map((value) => value * value);
  let [xl, ll] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const code = clamp(nearestInt(f(inverse * x[i])));
    signed[i] = code;
    xl = f(xl + f(f(weights[i] * x[i]) * code));
    ll = f(ll + f(f(weights[i] * code) * code));
  }
  const scale = descend(x, signed, weights, [xl, ll], { clamp, bothPositive: false });
  for (let i = 0; i < x.length; i++) codes[i] = signed[i] + half;
  return scale;
}

/**
 * At most five rounds; a code changes when this increases the correlation with x. Returns the scale.
 * @param sums `sum w x code` and `sum w code^2`, as the codes are
 */
function descend(
  x: Float32Array,
  codes: Uint8Array | Int8Array,
  weights: Float32Array,
  sums: readonly [xl: number, ll: number],
  { clamp, bothPositive }: { readonly clamp: (code: number) => number; readonly bothPositive: boolean },
): number {
  let [xl, ll] = sums;
  for (let round = 0; round < 5; round++) {
    let changed = false;
    for (let i = 0; i < x.length; i++) {
      const w = weights[i];
      let ownXl = f(xl - f(f(w * x[i]) * codes[i]));
      let ownLl = f(ll - f(f(w * codes[i]) * codes[i]));
      if (!(ownXl > 0 && (ownLl > 0 || !bothPositive))) continue;
      const code = clamp(nearestInt(f(f(x[i] * ownLl) / ownXl)));
      if (code === codes[i]) continue;
      ownXl = f(ownXl + f(f(w * x[i]) * code));
      ownLl = f(ownLl + f(f(w * code) * code));
      if (ownLl > 0 && f(f(ownXl * ownXl) * ll) > f(f(xl * xl) * ownLl)) {
        codes[i] = code;
        [xl, ll, changed] = [ownXl, ownLl, true];
      }
    }
    if (!changed) break;
  }
  return ll > 0 ? f(xl / ll) : 0;
}
