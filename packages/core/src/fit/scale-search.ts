import { roundHalfEven } from '../dtypes/round.js';
import { createScaleSweep, type SweepLevels, type SweepRange, type SweepResult } from './scale-sweep.js';

/** Scales of least weighted squared error among candidates around a start: see {@link createScaleSweep}. */
interface ScaleSearch {
  /** The best of several starts; the first one when none lowers the error. */
  around(
    x: Float32Array,
    starts: readonly number[],
    grid: SweepLevels,
    importance: Float32Array | undefined,
  ): SweepResult;
  /**
   * Scale and integer zero point on levels that are consecutive integers. It tries one zero point after the other, from
   * the range's own one in the direction of less error. Scale 0 for values that are all zero.
   */
  withZeroPoint(
    x: Float32Array,
    integers: SweepLevels,
    importance: Float32Array | undefined,
  ): readonly [scale: number, zero: number];
}

export function createScaleSearch(range: SweepRange): ScaleSearch {
  const sweep = createScaleSweep(range);
  const found: SweepResult = { scale: 0, gain: 0 };

  function around(
    x: Float32Array,
    starts: readonly number[],
    grid: SweepLevels,
    importance: Float32Array | undefined,
  ): SweepResult {
    let [scale, gain] = [0, 0];
    for (const start of starts) {
      sweep(x, start, grid, importance, found);
      if (found.gain > gain) ({ scale, gain } = found);
    }
    return { scale: scale === 0 ? starts[0] : scale, gain };
  }

  return {
    around,
    withZeroPoint(x, { levels, thresholds }, importance) {
      const [min] = levels;
      const max = min + thresholds.length;
      let [bottom, top] = [0, 0];
      for (let j = 0; j < x.length; j++) {
        if (x[j] < bottom) bottom = x[j];
        else if (x[j] > top) top = x[j];
      }
      if (bottom === top) return [0, min];
      const at = (zero: number) => {
        const shift = (all: Float64Array) => all.map((v) => v - zero);
        const shifted = { levels: shift(levels), thresholds: shift(thresholds) };
        // The smallest scale for which both ends are inside the range.
        const start = Math.max(zero < max ? top / (max - zero) : 0, zero > min ? bottom / (min - zero) : 0);
        return { zero, ...around(x, [start], shifted, importance) };
      };
      const step = Math.max(1, (max - min + 1) / 16);
      const clamp = (zero: number) => Math.min(max, Math.max(min, zero));
      let chosen = at(clamp(roundHalfEven(min - (bottom * (max - min)) / (top - bottom))));
      for (const direction of [-step, step]) {
        const from = chosen.zero;
        while (clamp(chosen.zero + direction) !== chosen.zero) {
          const next = at(clamp(chosen.zero + direction));
          if (next.gain <= chosen.gain) break;
          chosen = next;
        }
        if (chosen.zero !== from) break;
      }
      return [chosen.scale, chosen.zero];
    },
  };
}

/** The value of largest magnitude, with its sign; the first of equal ones. NaN is ignored. */
export function signedPeak(x: Float32Array): number {
  let peak = 0;
  for (let j = 0; j < x.length; j++) if (Math.abs(x[j]) > Math.abs(peak)) peak = x[j];
  return peak;
}
