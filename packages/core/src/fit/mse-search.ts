import { shrinkTolerance } from '../contracts/grid-kernels.js';
import type { OptionValues } from '../contracts/option.js';
import type { ScaleFit } from '../contracts/scale-fit.js';
import type { Scheme } from '../contracts/scheme.js';
import { roundHalfEven } from '../dtypes/round.js';
import { levelEncoder } from '../formats/level-encoder.js';
import { checkOptions } from '../options/check-options.js';
import { integer, number } from '../options/option.js';
import { minMax } from './min-max.js';

export const mseSearchOptions = {
  /** Shrink factors: `1 - i/steps`, up to `maxShrink`. Default 100, as in GPTQ. */
  steps: integer({ min: 1, default: 100, help: 'Shrink factors that are tried.' }),
  /** Largest part of the range that is cut off. Default 0.8. */
  maxShrink: number({ above: 0, max: 1, default: 0.8, help: 'Largest part of the range that is cut off.' }),
  /** Exponent of the error. Default 2.4, as in GPTQ. */
  norm: number({ above: 0, default: 2.4, help: 'Exponent of the error.' }),
};

export type MseSearchOptions = OptionValues<typeof mseSearchOptions>;

/**
 * Shrinks the range by the factor of least error (GPTQ's `mse` option; docs/reference/papers.md#gptq). Importance
 * weights the errors.
 */
export function mseSearch(options: MseSearchOptions = {}): ScaleFit {
  const { steps, maxShrink, norm } = checkOptions('mseSearch', mseSearchOptions, options);
  const range = minMax();
  const factors = Float64Array.from({ length: Math.max(0, Math.ceil(steps * maxShrink)) }, (_, i) => 1 - i / steps);

  /** The best factor, the first one of equal ones; `wanted` says which factors are tried. */
  function choose(
    own: Float32Array,
    [fullScale, zero]: readonly [number, number],
    scheme: Scheme,
    importance: Float32Array | undefined,
    wanted: (i: number) => boolean,
  ): number {
    let best = Number.POSITIVE_INFINITY;
    let chosen = fullScale;
    const weighed = { values: own, scheme, importance, norm };
    for (let i = 0; i < factors.length; i++) {
      if (!wanted(i)) continue;
      const step = Math.fround(fullScale * factors[i]);
      // The zero point stays: both ends of the range shrink towards 0 by the same factor.
      const error = roundingError(weighed, step, zero, best);
      if (error < best) {
        best = error;
        chosen = step;
      }
    }
    return chosen;
  }

  return {
    name: 'mseSearch',
    options: { steps, maxShrink, norm },
    fit(panel) {
      const { values, rows, columns, scheme, importance, scale, zero } = panel;
      range.fit(panel);
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * columns, (row + 1) * columns);
        if (scale[row] !== 0) scale[row] = choose(own, [scale[row], zero[row]], scheme, importance, () => true);
      }
    },
    /** Kernels select the few factors that may be the best; those are tried exactly. */
    fitGroups(of, grids) {
      const { scheme, importance, scale, zero } = of;
      const { family, min, max, bits } = scheme.format;
      if (family !== 'linear' || bits > 8 || scheme.zeroPoint === 'float' || factors.length === 0) return false;
      range.fitGroups?.(of, grids);
      const { values, columns, groupSize } = of;
      const groups = Math.ceil(columns / groupSize);
      const count = factors.length;
      // Rounding to f32 can add this much to an error of 0, in units of the scale, of which a group spans max - min.
      const slack = ((max - min) * 2 ** -20) ** norm;
      // Some rows at a time, so the array of errors stays small.
      const panel = Math.max(1, Math.floor(2 ** 20 / (groups * count)));
      for (let top = 0; top < of.rows; top += panel) {
        const rows = Math.min(panel, of.rows - top);
        const errors = new Float32Array(rows * groups * count);
        const part = (all: Float32Array, width: number) => all.subarray(top * width, (top + rows) * width);
        const grid = { scales: part(scale, groups), zeros: part(zero, groups), min, max };
        const shrunk = { ...of, values: part(values, columns), rows, importance, ...grid, norm, errors };
        grids.shrink({ ...shrunk, factors: Float32Array.from(factors) });
        for (let index = 0; index < rows * groups; index++) {
          const at = top * groups + index;
          if (scale[at] === 0) continue;
          const left = (index % groups) * groupSize;
          const start = (top + Math.floor(index / groups)) * columns + left;
          const width = Math.min(groupSize, columns - left);
          const own = values.subarray(start, start + width);
          const weights = importance?.subarray(left, left + width);
          const first = index * count;
          let least = Number.POSITIVE_INFINITY;
          for (let i = first; i < first + count; i++) least = Math.min(least, errors[i]);
          const limit =
            least * (1 + 2 * shrinkTolerance) + slack * (weights ? weights.reduce((sum, w) => sum + w, 0) : width);
          let [candidates, only] = [0, 0];
          for (let i = 0; i < count; i++) {
            if (errors[first + i] > limit) continue;
            candidates++;
            only = i;
          }
          if (candidates === 1) scale[at] = Math.fround(scale[at] * factors[only]);
          else scale[at] = choose(own, [scale[at], zero[at]], scheme, weights, (i) => !(errors[first + i] > limit));
        }
      }
      return true;
    },
  };
}

interface WeighedValues {
  readonly values: Float32Array;
  readonly scheme: Scheme;
  readonly importance?: Float32Array;
  readonly norm: number;
}

/** Sum of weighted `|x - q(x)|^norm`; stops early when it exceeds `limit`. */
function roundingError(
  { values, scheme: { format }, importance, norm }: WeighedValues,
  scale: number,
  zero: number,
  limit: number,
): number {
  let sum = 0;
  if (format.family !== 'linear') {
    const codes = format.bits <= 8 ? new Uint8Array(values.length) : new Uint16Array(values.length);
    levelEncoder(format)(values, codes, 0, values.length, scale);
    for (let j = 0; j < values.length; j++) {
      sum += (importance ? importance[j] : 1) * Math.abs(values[j] - format.decode(codes[j]) * scale) ** norm;
    }
    return sum;
  }
  const { min, max } = format;
  for (let j = 0; j < values.length; j++) {
    const x = values[j] / scale + zero;
    const q = x < min ? min : x > max ? max : roundHalfEven(x);
    const error = Math.abs(values[j] - (q - zero) * scale);
    sum += (importance ? importance[j] : 1) * (norm === 2 ? error * error : error ** norm);
    if (sum > limit) return sum;
  }
  return sum;
}
