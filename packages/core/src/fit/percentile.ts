import type { OptionValues } from '../contracts/option.js';
import type { ScaleFit } from '../contracts/scale-fit.js';
import { checkOptions } from '../options/check-options.js';
import { number } from '../options/option.js';
import { minMax } from './min-max.js';

export const percentileOptions = {
  p: number({ above: 0.5, max: 1, default: 0.999, help: 'Share of the values that the range holds.' }),
};

/**
 * The range that contains the share `p` of the magnitudes (symmetric) or of the values on each side (asymmetric);
 * values outside are clipped. Linear interpolation between order statistics.
 * @throws SchemeError for an option out of its range
 */
export function percentile(options: OptionValues<typeof percentileOptions> = {}): ScaleFit {
  const { p } = checkOptions('percentile', percentileOptions, options);
  const range = minMax();
  return {
    name: 'percentile',
    options: { p },
    fit({ values, rows, columns, scheme, importance, scale, zero }) {
      const clipped = new Float32Array(columns);
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * columns, (row + 1) * columns);
        const sorted = scheme.zeroPoint === 'none' ? Float32Array.from(own, Math.abs).sort() : own.slice().sort();
        const high = quantile(sorted, p);
        const low = scheme.zeroPoint === 'none' ? -high : quantile(sorted, 1 - p);
        for (let j = 0; j < columns; j++) clipped[j] = Math.min(high, Math.max(low, own[j]));
        const one = (all: Float32Array) => all.subarray(row, row + 1);
        range.fit({ values: clipped, rows: 1, columns, scheme, importance, scale: one(scale), zero: one(zero) });
      }
    },
  };
}

function quantile(sorted: Float32Array, p: number): number {
  const at = p * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
}
