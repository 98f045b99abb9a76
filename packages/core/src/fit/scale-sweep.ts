/** The candidate scales: `points` of them, evenly from `low` to `high` times a start. */
export interface SweepRange {
  readonly points: number;
  readonly low: number;
  readonly high: number;
}

/** The levels of the codes, ascending, and the thresholds between them. */
export interface SweepLevels {
  readonly levels: Float64Array;
  readonly thresholds: Float64Array;
}

export interface SweepResult {
  /** The scale that fits the codes of the best candidate; 0 when all values were nearest to the level zero. */
  scale: number;
  /** Its reduction of the weighted sum of squares: `sum w x^2 - gain` is the squared error. */
  gain: number;
}

type Sweep = (
  x: Float32Array,
  start: number,
  grid: SweepLevels,
  importance: Float32Array | undefined,
  out: SweepResult,
) => void;

/**
 * Least-squares scale for values on a grid of levels (opt-RTN, docs/reference/papers.md#grids), for every candidate in
 * about the time of one pass.
 *
 * A candidate s gives each value the level q nearest to x/s. The scale that fits those levels best is
 * `sum w x q / sum w q^2`, and takes `(sum w x q)^2 / sum w q^2` off the squared error. From one candidate to the next
 * few values change their level: x leaves level q at the scale `x / threshold`. So each value starts on its level at
 * the lowest candidate. Each of its steps towards zero is added to the two sums of the first candidate with the new
 * level. Running sums over the candidates then give every candidate's gain. A value takes `log(high/low)` of its level
 * in steps: 2 or 3 for 4 bits.
 */
export function createScaleSweep({ points, low, high }: SweepRange): Sweep {
  const products = new Float64Array(points + 1);
  const squares = new Float64Array(points + 1);
  const perUnit = (points - 1) / (high - low);
  return (x, start, { levels, thresholds }, importance, out) => {
    products.fill(0);
    squares.fill(0);
    const last = thresholds.length;
    const toUnits = 1 / start;
    for (let j = 0; j < x.length; j++) {
      const weight = importance ? importance[j] : 1;
      const weighted = weight * x[j];
      const u = x[j] * toUnits;
      let k = countBelow(thresholds, u / low);
      let level = levels[k];
      let [bin, step] = [0, u > 0 ? -1 : 1];
      let before = 0;
      for (;;) {
        products[bin] += weighted * (level - before);
        squares[bin] += weight * (level * level - before * before);
        before = level;
        // The next step towards zero: across the threshold below a positive value, above a negative one.
        const crossed = u > 0 ? k - 1 : k;
        if (u === 0 || crossed < 0 || crossed >= last) break;
        const threshold = thresholds[crossed];
        if (u > 0 ? threshold <= 0 : threshold >= 0) break;
        const at = u / threshold;
        if (at >= high) break;
        bin = at <= low ? 0 : Math.ceil((at - low) * perUnit);
        k += step;
        level = levels[k];
      }
    }
    let product = 0;
    let square = 0;
    out.gain = 0;
    out.scale = 0;
    for (let i = 0; i < points; i++) {
      product += products[i];
      square += squares[i];
      // Sums that cancel leave rounding errors, which must not count as a square.
      if (square > 1e-300 && product * product > out.gain * square) {
        out.gain = (product * product) / square;
        out.scale = product / square;
      }
    }
  };
}

/** Number of the ascending thresholds below x. */
function countBelow(thresholds: Float64Array, x: number): number {
  let low = 0;
  let high = thresholds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x > thresholds[middle]) low = middle + 1;
    else high = middle;
  }
  return low;
}
