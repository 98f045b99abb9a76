import { SchemeError } from '../contracts/errors.js';
import type { Statistic } from '../contracts/statistic.js';
import { tensor } from '../tensor.js';
import { checkWidth } from './hessian.js';

/** Exponential averages of a batch's smallest and largest value over all features. */
export interface MovingAverageState {
  readonly width: number;
  readonly momentum: number;
  /** Range of the first batch: a merge needs it to weight that batch again. */
  readonly first: Float64Array;
  /** `[low, high]` */
  readonly average: Float64Array;
  batches: number;
  count: number;
}

/**
 * `a <- (1 - momentum) a + momentum b` for the range of each batch after the first, like the usual moving-average
 * observers. `merge(a, b)` equals seeing a's batches and then b's; unlike other statistics it depends on the order.
 * @throws SchemeError when the momentum is not in (0, 1]
 */
export function movingAverageRange(momentum = 0.01): Statistic<MovingAverageState> {
  if (!(momentum > 0 && momentum <= 1))
    throw new SchemeError(`momentum must be above 0 and at most 1, got ${momentum}`);
  return {
    name: `movingAverageRange-${momentum}`,
    create: (width) => ({
      width,
      momentum,
      first: new Float64Array(2),
      average: new Float64Array(2),
      batches: 0,
      count: 0,
    }),
    async update(state, { x, tokens, width }) {
      checkWidth('movingAverageRange', state.width, width);
      if (x.length === 0) return;
      let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
      for (let i = 0; i < x.length; i++) {
        low = Math.min(low, x[i]);
        high = Math.max(high, x[i]);
      }
      if (state.batches === 0) {
        state.first.set([low, high]);
        state.average.set([low, high]);
      } else {
        state.average[0] += momentum * (low - state.average[0]);
        state.average[1] += momentum * (high - state.average[1]);
      }
      state.batches++;
      state.count += tokens;
    },
    merge(state, other) {
      checkWidth('movingAverageRange', state.width, other.width);
      state.count += other.count;
      if (other.batches === 0) return;
      if (state.batches === 0) {
        state.first.set(other.first);
        state.average.set(other.average);
      } else {
        // The average of `other` if it had started from this state instead of from its first batch.
        const kept = (1 - momentum) ** other.batches;
        for (let i = 0; i < 2; i++) {
          state.average[i] = other.average[i] + kept * (state.average[i] - other.first[i]);
        }
      }
      state.batches += other.batches;
    },
    count: (state) => state.count,
    serialize: ({ width, first, average, batches, count }) => ({
      ranges: tensor('f64', [2, 2], Float64Array.of(...first, ...average)),
      counts: tensor('f64', [3], Float64Array.of(batches, count, width)),
    }),
    deserialize({ ranges, counts }) {
      const [batches, count, width] = counts.data as Float64Array;
      const all = ranges.data as Float64Array;
      return { width, momentum, first: all.slice(0, 2), average: all.slice(2), batches, count };
    },
    bytes: () => 8 * 7,
  };
}
