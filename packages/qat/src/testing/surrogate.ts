/**
 * The smooth function whose gradient a fake quantizer computes, in f64 and written from the definition. At a fixed
 * point rounding is the addition of the rounding error there, and clamping stays clamping.
 */
export interface SurrogatePoint {
  readonly weight: readonly number[];
  readonly offset?: readonly number[];
  readonly scale: readonly number[];
  readonly zero: readonly number[];
}

export interface SurrogateGrid {
  /** Index of the scale of element i. */
  readonly scaleOf: (i: number) => number;
  /** Nearest level of a value, limited to the format's range. */
  readonly nearest: (v: number) => number;
  readonly min: number;
  readonly max: number;
  readonly reach: number;
}

/** Values at `at`, with roundings frozen at `origin`. */
export function surrogate(grid: SurrogateGrid, origin: SurrogatePoint, at: SurrogatePoint): number[] {
  return at.weight.map((w, i) => {
    const t = grid.scaleOf(i);
    const v0 = origin.weight[i] / origin.scale[t] + (origin.offset?.[i] ?? 0) + origin.zero[t];
    const q0 = grid.nearest(v0);
    const v = w / at.scale[t] + (at.offset?.[i] ?? 0) + at.zero[t];
    const inside = v0 >= grid.min - grid.reach && v0 <= grid.max + grid.reach;
    return ((inside ? v + (q0 - v0) : q0) - at.zero[t]) * at.scale[t];
  });
}

/** Central differences of `sum(values * weights)` by every entry of `x`. */
export function differences(
  f: (x: readonly number[]) => readonly number[],
  x: readonly number[],
  weights: ArrayLike<number>,
): number[] {
  const loss = (at: readonly number[]) => f(at).reduce((sum, value, i) => sum + value * weights[i], 0);
  return x.map((value, i) => {
    const step = 1e-6 * Math.max(1, Math.abs(value));
    return (loss(x.with(i, value + step)) - loss(x.with(i, value - step))) / (2 * step);
  });
}

export function largestRelative(actual: ArrayLike<number>, expected: readonly number[]): number {
  const size = Math.max(...expected.map(Math.abs), 1e-9);
  return Math.max(...expected.map((value, i) => Math.abs(actual[i] - value) / size));
}
