import type { GridKernels, GridSweepArgs, GroupedValues } from '../contracts/grid-kernels.js';
import { shrinkTolerance } from '../contracts/grid-kernels.js';
import { roundHalfEven } from '../dtypes/round.js';
import { encodeLevels, encodeLinear } from '../encode.js';
import { createScaleSearch, signedPeak } from '../fit/scale-search.js';
import { tableEncoder } from '../formats/level-encoder.js';
import type { Tiling } from '../schemes/granularity.js';

/** Reference: every operation by its definition, in f64, on the calling thread. */
export const plainGrids: GridKernels = {
  extremes(of, pairs) {
    for (const { index, values } of groupsOf(of)) {
      const peak = signedPeak(values);
      let other = 0;
      for (const x of values) if (peak < 0 ? x > other : x < other) other = x;
      pairs[2 * index] = peak;
      pairs[2 * index + 1] = other;
    }
  },
  sweep,
  shrink({ importance, scales, zeros, min, max, factors, norm, errors, ...of }) {
    const count = factors.length;
    for (const { index, values, left } of groupsOf(of)) {
      const scale = scales[index];
      const zero = zeros[index];
      let best = Number.POSITIVE_INFINITY;
      for (let i = 0; i < count; i++) {
        const step = scale * factors[i];
        const limit = best * (1 + shrinkTolerance);
        let sum = 0;
        for (let j = 0; scale !== 0 && j < values.length && sum <= limit; j++) {
          const v = values[j] / step + zero;
          const q = v < min ? min : v > max ? max : roundHalfEven(v);
          const error = Math.abs((values[j] - (q - zero) * step) / scale);
          sum += (importance ? importance[left + j] : 1) * (norm === 2 ? error * error : error ** norm);
        }
        if (sum < best) best = sum;
        errors[index * count + i] = sum > limit ? Number.POSITIVE_INFINITY : sum;
      }
    }
  },
  round: ({ values: data, codes, scales, zeros, min, max, ...of }) =>
    encodeLinear({ data, codes, tiles: tilesOf(of), scales, zeros, min, max }),
  levels: ({ values: data, codes, scales, thresholds, levelCodes, zeroIndex, negativeZero, ...of }) =>
    encodeLevels(
      { data, codes, tiles: tilesOf(of), scales },
      tableEncoder({ thresholds, codes: levelCodes, zeroIndex, negativeZero }),
    ),
  errors({ scales, zeros, min, codes, sums, ...of }) {
    for (const { index, values, start } of groupsOf(of)) {
      const zero = zeros?.[index] ?? 0;
      let [error, energy] = [0, 0];
      for (let j = 0; j < values.length; j++) {
        const value = Math.fround((codes[start + j] + min - zero) * scales[index]);
        error += Math.fround(values[j] - value) ** 2;
        energy += values[j] ** 2;
      }
      sums[2 * index] = error;
      sums[2 * index + 1] = energy;
    }
  },
};

function sweep(args: GridSweepArgs): void {
  const { importance, thresholds, min, max, points, low, high, aims, scales, zeros } = args;
  const search = createScaleSearch({ points, low, high });
  const levels = Float64Array.from({ length: thresholds.length + 1 }, (_, k) => min + k);
  const integers = { levels, thresholds };
  for (const { index, values, left } of groupsOf(args)) {
    const weights = importance?.subarray(left, left + values.length);
    if (aims === 'zeroPoint') {
      [scales[index], zeros[index]] = search.withZeroPoint(values, integers, weights);
      continue;
    }
    const peak = signedPeak(values);
    const starts = aims === 'ends' ? [peak / min, peak / max] : [Math.abs(peak) / max];
    scales[index] = peak === 0 ? 0 : search.around(values, starts, integers, weights).scale;
    zeros[index] = 0;
  }
}

/** A group of a matrix: its values begin at element `start`, in column `left`. */
interface Group {
  readonly index: number;
  readonly values: Float32Array;
  readonly start: number;
  readonly left: number;
}

function* groupsOf({ values, rows, columns, groupSize }: GroupedValues): Generator<Group> {
  let index = 0;
  for (let row = 0; row < rows; row++) {
    for (let left = 0; left < columns; left += groupSize) {
      const start = row * columns + left;
      const width = Math.min(groupSize, columns - left);
      yield { index: index++, values: values.subarray(start, start + width), start, left };
    }
  }
}

function tilesOf({ rows, columns, groupSize }: Omit<GroupedValues, 'values'>): Tiling {
  const scaleColumns = Math.ceil(columns / groupSize);
  return { rows, columns, tileRows: 1, tileColumns: groupSize, scaleRows: rows, scaleColumns };
}
