import { roundHalfEven } from '../dtypes/round.js';
import { minMax } from './min-max.js';
import { mseSearch } from './mse-search.js';
import type { ScaleFit } from './scale-fit.js';

export interface WeightedSearchOptions {
  /** Candidates for the scale around the one of the largest magnitude. Default 200. */
  readonly points?: number;
  /** Candidates go from this share of it ... Default 0.5. */
  readonly low?: number;
  /** ... to this one. Default 1.1. */
  readonly high?: number;
}

/**
 * Data-free scale search (opt-RTN; papers.md section 4) by least weighted squared error. Weights: the importance of the
 * columns where it is known (mean square of the inputs), else even.
 *
 * Symmetric integers use the full range: the value of largest magnitude aims at the lowest code, so the scale may be
 * negative (papers.md 2.0). Each candidate gives codes, and the codes the scale that fits them best,
 * `sum w x q / sum w q^2`; the candidate with the largest `(sum w x q)^2 / sum w q^2` wins. Asymmetric integers search
 * shrunken ranges with their zero point fitted anew; other formats shrink the range.
 */
export function weightedSearch(options: WeightedSearchOptions = {}): ScaleFit {
  const { points = 200, low = 0.5, high = 1.1 } = options;
  const shrink = mseSearch({ steps: 100, maxShrink: 0.6, norm: 2 });
  const range = minMax();
  return {
    name: 'weightedSearch',
    options: { points, low, high },
    fit(values, rows, columns, scheme, importance, scale, zero) {
      const { family, min, max } = scheme.format;
      if (family !== 'linear' || (scheme.zeroPoint === 'none' && min >= 0)) {
        shrink.fit(values, rows, columns, scheme, importance, scale, zero);
        return;
      }
      if (scheme.zeroPoint !== 'none') range.fit(values, rows, columns, scheme, importance, scale, zero);
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * columns, (row + 1) * columns);
        if (scheme.zeroPoint === 'none') {
          zero[row] = 0;
          scale[row] = searchSymmetric(own, importance, min, max, points, low, high);
        } else if (scale[row] !== 0) {
          searchAsymmetric(
            own,
            importance,
            min,
            max,
            Math.ceil(points / 4),
            scale,
            zero,
            row,
            scheme.zeroPoint === 'float',
          );
        }
      }
    },
  };
}

function searchSymmetric(
  x: Float32Array,
  importance: Float32Array | undefined,
  min: number,
  max: number,
  points: number,
  low: number,
  high: number,
): number {
  let signed = 0;
  for (let j = 0; j < x.length; j++) if (Math.abs(x[j]) > Math.abs(signed)) signed = x[j];
  if (signed === 0) return 0;
  const start = signed / min;
  let best = 0;
  let bestScale = start;
  for (let i = 0; i < points; i++) {
    const candidate = start * (low + ((high - low) * i) / (points - 1));
    let xq = 0;
    let qq = 0;
    for (let j = 0; j < x.length; j++) {
      const v = x[j] / candidate;
      const q = v < min ? min : v > max ? max : roundHalfEven(v);
      const weight = importance ? importance[j] * q : q;
      xq += weight * x[j];
      qq += weight * q;
    }
    if (qq > 0 && xq * xq > best * qq) {
      best = (xq * xq) / qq;
      bestScale = xq / qq;
    }
  }
  return Math.fround(bestScale) || start;
}

/**
 * Shrinks both ends of the range towards 0 independently (a coarse grid) and rounds the zero point anew for each pair;
 * keeps the pair with the least squared error.
 */
function searchAsymmetric(
  x: Float32Array,
  importance: Float32Array | undefined,
  min: number,
  max: number,
  steps: number,
  scale: Float32Array,
  zero: Float32Array,
  row: number,
  floatZero: boolean,
): void {
  let bottom = 0;
  let top = 0;
  for (let j = 0; j < x.length; j++) {
    if (x[j] < bottom) bottom = x[j];
    else if (x[j] > top) top = x[j];
  }
  const error = (step: number, offset: number, limit: number) => {
    let sum = 0;
    for (let j = 0; j < x.length && sum < limit; j++) {
      const v = x[j] / step + offset;
      const q = v < min ? min : v > max ? max : roundHalfEven(v);
      const d = x[j] - (q - offset) * step;
      sum += (importance ? importance[j] : 1) * d * d;
    }
    return sum;
  };
  const offsetOf = (lowEnd: number, step: number) => {
    const exact = min - lowEnd / step;
    return floatZero ? exact : Math.min(max, Math.max(min, roundHalfEven(exact)));
  };
  let best = error(scale[row], zero[row], Number.POSITIVE_INFINITY);
  const consider = (lowShare: number, highShare: number) => {
    const step = Math.fround((top * highShare - bottom * lowShare) / (max - min));
    if (!(step > 0)) return;
    const offset = offsetOf(bottom * lowShare, step);
    const found = error(step, offset, best);
    if (found < best) {
      best = found;
      scale[row] = step;
      zero[row] = offset;
    }
  };
  // Both ends together first, then one end at a time around the best of them.
  for (let i = 0; i < steps; i++) consider(1 - (0.6 * i) / steps, 1 - (0.6 * i) / steps);
  for (let i = 0; i < steps; i++) {
    consider(1 - (0.6 * i) / steps, 1);
    consider(1, 1 - (0.6 * i) / steps);
  }
}
