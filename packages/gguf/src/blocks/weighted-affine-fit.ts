import { nearestCode } from './nearest-int.js';

const f = Math.fround;

/** The search steps of a weighted affine fit (ggml-quants.c, qkx2). */
export interface AffineSteps {
  /** Last code. */
  readonly last: number;
  /** It tries the ranges `last + first + step i` over `max - min`, i = 0..count. */
  readonly first: number;
  readonly step: number;
  readonly count: number;
  /** True: errors are weighted by their magnitude, not by their square. */
  readonly absolute?: true;
}

/** The reference's steps for columns with an importance (make_qkx3_quants of ggml-quants.c). */
export const importantSteps = (last: number): AffineSteps => ({ last, first: -0.9, step: 0.05, count: 36 });

export interface AffineFit {
  readonly scale: number;
  /** The value to subtract: at least 0. */
  readonly minimum: number;
}

/**
 * Finds `x = scale code - minimum` of least weighted squares (ggml-quants.c, qkx2). For each of several ranges the
 * codes are rounded; then scale and minimum are the least-squares solution for them. Ranges are counted from the best
 * minimum so far, as in the reference: both the numerator and the denominator of a later step follow it.
 * @param codes out: the codes of the fit
 */
export function fitAffine(
  x: Float32Array,
  weights: Float32Array,
  { last, first, step: width, count, absolute }: AffineSteps,
  codes: Uint8Array,
): AffineFit {
  const n = x.length;
  let [low, high, sumW, sumX] = [x[0], x[0], 0, 0];
  for (let i = 0; i < n; i++) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
    sumW = f(sumW + weights[i]);
    sumX = f(sumX + f(weights[i] * x[i]));
  }
  if (low > 0) low = 0;
  if (high === low) {
    codes.fill(0);
    return { scale: 0, minimum: -low };
  }
  const trial = new Uint8Array(n);
  const round = (range: number, into: Uint8Array) => {
    const inverse = f(range / f(high - low));
    for (let i = 0; i < n; i++) into[i] = nearestCode(f(inverse * f(x[i] - low)), 0, last);
    return inverse;
  };
  const error = (scale: number, minimum: number, of: Uint8Array) => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const off = f(f(f(scale * of[i]) + minimum) - x[i]);
      sum = f(sum + f(weights[i] * (absolute ? Math.abs(off) : f(off * off))));
    }
    return sum;
  };
  let scale = f(1 / round(last, codes));
  let best = error(scale, low, codes);
  for (let step = 0; step <= count; step++) {
    round(f(f(f(first) + f(f(width) * step)) + last), trial);
    let [sumL, sumLL, sumXL] = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      const weighted = f(weights[i] * trial[i]);
      sumL = f(sumL + weighted);
      sumLL = f(sumLL + f(weighted * trial[i]));
      sumXL = f(sumXL + f(weighted * x[i]));
    }
    const determinant = f(f(sumW * sumLL) - f(sumL * sumL));
    if (!(determinant > 0)) continue;
    let slope = f(f(f(sumW * sumXL) - f(sumX * sumL)) / determinant);
    let minimum = f(f(f(sumLL * sumX) - f(sumL * sumXL)) / determinant);
    if (minimum > 0) {
      minimum = 0;
      slope = f(sumXL / sumLL);
    }
    const sum = error(slope, minimum, trial);
    if (sum < best) {
      codes.set(trial);
      [best, scale, low] = [sum, slope, minimum];
    }
  }
  return { scale, minimum: -low };
}
