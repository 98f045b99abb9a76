import type { ScaleFit } from '../contracts/scale-fit.js';

/**
 * The exact least-squares scale for {0, s} and {-s, 0, s}. For a given set of nonzero values the best s is the mean of
 * their magnitudes, which takes `(sum)^2 / count` off the squared error. The best set of a size has the largest values,
 * so one pass over the sorted values tries all sets. For {0, s} negative values become zero.
 */
export function leastSquaresSupport(): ScaleFit {
  return {
    name: 'leastSquaresSupport',
    options: {},
    fit({ values, rows, columns, scheme: { format }, scale, zero }) {
      const signed = format.min < 0;
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * columns, (row + 1) * columns);
        const sorted = Float32Array.from(own, (x) => (signed ? Math.abs(x) : Math.max(0, x))).sort();
        let sum = 0;
        let best = 0;
        scale[row] = own.some((x) => x !== 0) ? 2 ** -149 : 0;
        zero[row] = 0;
        for (let count = 1; count <= columns; count++) {
          sum += sorted[columns - count];
          const gain = (sum * sum) / count;
          if (gain > best) {
            best = gain;
            scale[row] = Math.fround(sum / count) || 2 ** -149;
          }
        }
      }
    },
  };
}
