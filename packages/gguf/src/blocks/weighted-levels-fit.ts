/**
 * The scale of `x = scale levels[code]` of weighted least squares. It searches near the range for which the value of
 * largest magnitude is the outermost level. Methods start from it.
 */
export function fitLevels(
  x: Float32Array,
  weights: Float32Array,
  levels: Float32Array,
  shares: readonly number[] = [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2],
): number {
  let magnitude = 0;
  for (const value of x) magnitude = Math.max(magnitude, Math.abs(value));
  if (magnitude === 0) return 0;
  const [low, high] = [levels[0], levels[levels.length - 1]];
  let [best, chosen] = [Number.POSITIVE_INFINITY, 0];
  // A negative scale reverses an asymmetric set of levels.
  for (const outermost of low === -high ? [high] : [low, high, -low, -high]) {
    if (outermost === 0) continue;
    for (const share of shares) {
      const first = (share * magnitude) / outermost;
      let [xl, ll, xx] = [0, 0, 0];
      for (let i = 0; i < x.length; i++) {
        const level = levels[nearestLevel(levels, x[i] / first)];
        xl += weights[i] * x[i] * level;
        ll += weights[i] * level * level;
        xx += weights[i] * x[i] * x[i];
      }
      if (!(ll > 0)) continue;
      const error = xx - (xl * xl) / ll;
      if (error < best) [best, chosen] = [error, xl / ll];
    }
  }
  return chosen;
}

/** The code of the nearest of ascending levels. */
export function nearestLevel(levels: Float32Array, x: number): number {
  let [low, high] = [0, levels.length - 1];
  if (x <= levels[0]) return 0;
  if (x >= levels[high]) return high;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x < levels[middle]) high = middle;
    else low = middle;
  }
  return x - levels[low] < levels[high] - x ? low : high;
}
