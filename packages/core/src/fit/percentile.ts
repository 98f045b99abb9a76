import { SchemeError } from '../contracts/errors.js';
import { minMax } from './min-max.js';
import type { ScaleFit } from './scale-fit.js';

/**
 * The range that holds the share `p` of the magnitudes (symmetric) or of the values on each side (asymmetric); what lies
 * outside is clipped. Linear interpolation between order statistics.
 */
export function percentile(options: { readonly p?: number } = {}): ScaleFit {
  const { p = 0.999 } = options;
  if (!(p > 0.5 && p <= 1)) throw new SchemeError(`percentile p must be above 0.5 and at most 1, got ${p}`);
  const range = minMax();
  return {
    name: 'percentile',
    options: { p },
    fit(values, rows, columns, scheme, importance, scale, zero) {
      const clipped = new Float32Array(columns);
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * columns, (row + 1) * columns);
        const sorted = scheme.zeroPoint === 'none' ? Float32Array.from(own, Math.abs).sort() : own.slice().sort();
        const high = quantile(sorted, p);
        const low = scheme.zeroPoint === 'none' ? -high : quantile(sorted, 1 - p);
        for (let j = 0; j < columns; j++) clipped[j] = Math.min(high, Math.max(low, own[j]));
        range.fit(clipped, 1, columns, scheme, importance, scale.subarray(row, row + 1), zero.subarray(row, row + 1));
      }
    },
  };
}

function quantile(sorted: Float32Array, p: number): number {
  const at = p * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
}
