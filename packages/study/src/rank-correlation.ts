import { createRandom, ShapeError } from '@q/core';

/** Ranks from 1; equal values share the mean of their ranks. */
function ranksOf(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const ranks = new Array<number>(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end]] === values[order[start]]) end++;
    for (let i = start; i < end; i++) ranks[order[i]] = (start + end + 1) / 2;
    start = end;
  }
  return ranks;
}

/**
 * Spearman's rank correlation of pairs, from -1 to 1: Pearson's correlation of the ranks, which is correct with ties
 * too. Undefined for fewer than 3 pairs, or if one side has only one value.
 * @throws ShapeError when the sides differ in length
 */
export function spearman(a: readonly number[], b: readonly number[]): number | undefined {
  if (a.length !== b.length)
    throw new ShapeError(`a correlation needs pairs: ${a.length} and ${b.length} values were given`);
  if (a.length < 3) return undefined;
  const [x, y] = [ranksOf(a), ranksOf(b)];
  const mean = (a.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : undefined;
}

export interface RankCorrelation {
  /** Absent if it is not defined. */
  readonly value?: number;
  /** 95 % interval by the percentiles of bootstrap samples. Absent for fewer than 5 pairs. */
  readonly interval?: readonly [low: number, high: number];
  readonly pairs: number;
}

/** Spearman's correlation with a bootstrap interval (Efron's percentile method) of 2,000 samples, drawn from a seed. */
export function rankCorrelation(
  a: readonly number[],
  b: readonly number[],
  seed: number | string = 0,
): RankCorrelation {
  const value = spearman(a, b);
  if (value === undefined) return { pairs: a.length };
  if (a.length < 5) return { value, pairs: a.length };
  const random = createRandom(seed).fork('bootstrap');
  const samples: number[] = [];
  for (let sample = 0; sample < 2000; sample++) {
    const chosen = a.map(() => random.integer(a.length));
    const drawn = spearman(
      chosen.map((i) => a[i]),
      chosen.map((i) => b[i]),
    );
    if (drawn !== undefined) samples.push(drawn);
  }
  samples.sort((x, y) => x - y);
  const at = (share: number) => samples[Math.min(samples.length - 1, Math.floor(share * samples.length))];
  return { value, interval: [at(0.025), at(0.975)], pairs: a.length };
}
