import type { Comparison, Contender } from './benchmark.js';

export interface MeasureOptions {
  /** Number of rounds that count; each one times every contender once. Default 15. */
  readonly rounds?: number;
  /** Number of rounds before them that do not count. Default 2. */
  readonly warmUps?: number;
  /** A sample repeats a run until it takes this long, milliseconds. Default 20. */
  readonly sampleMilliseconds?: number;
  /** Returns milliseconds since any moment. Default `performance.now`. */
  readonly clock?: () => number;
}

/** The measurement of one contender. */
export interface Measurement {
  readonly name: string;
  /** Median of one run, milliseconds. */
  readonly milliseconds: number;
  /** Half of the distance between the first and the third quartile, as a share of the median. */
  readonly spread: number;
  /** `work` per second at the median. */
  readonly rate: number;
  /** Speed as a share of {@link baseline}'s: the median over rounds of the ratio of times in the same round. */
  readonly ratio: number;
  /** Peak resident memory, bytes, of a contender in a separate process. */
  readonly peakBytes?: number;
  /** Number of runs in a sample. */
  readonly repeats: number;
}

/**
 * Times all contenders of a comparison in turns, round after round, each round in the opposite order of the previous
 * one. So a machine that is slow or busy for a while slows all of them. Ratios are taken within a round.
 */
export async function measure(comparison: Comparison, options: MeasureOptions = {}): Promise<Measurement[]> {
  const { rounds = 15, warmUps = 2, sampleMilliseconds = 20, clock = () => performance.now() } = options;
  const { contenders, work } = comparison;
  const time = async (index: number, repeats: number) => {
    const started = clock();
    for (let i = 0; i < repeats; i++) {
      const result = contenders[index].run();
      if (result instanceof Promise) await result;
    }
    return (clock() - started) / repeats;
  };
  const repeats = contenders.map(() => 1);
  for (let round = 0; round < warmUps; round++) {
    for (let i = 0; i < contenders.length; i++) {
      const took = await time(i, repeats[i]);
      // At most 200, because a clock that ticks slowly must not make a run endless.
      repeats[i] = Math.max(1, Math.min(200, Math.ceil(sampleMilliseconds / Math.max(took, 1e-6))));
    }
  }
  const samples: number[][] = contenders.map(() => []);
  const order = contenders.map((_, i) => i);
  for (let round = 0; round < rounds; round++) {
    for (const i of order) samples[i].push(await time(i, repeats[i]));
    order.reverse();
  }
  const medians = samples.map((own) => quantile(own, 0.5));
  const beside = samples[baseline(contenders, medians)];
  return contenders.map(({ name, peakBytes }, i) => {
    const milliseconds = medians[i];
    return {
      name,
      milliseconds,
      spread: (quantile(samples[i], 0.75) - quantile(samples[i], 0.25)) / 2 / milliseconds,
      rate: (1000 * work) / milliseconds,
      ratio: quantile(
        samples[i].map((own, round) => beside[round] / own),
        0.5,
      ),
      ...(peakBytes === undefined ? {} : { peakBytes }),
      repeats: repeats[i],
    };
  });
}

/**
 * Index of the contender with which the others are compared: the fastest peer, or the first contender if there is no
 * peer.
 */
export function baseline(contenders: readonly Contender[], milliseconds: readonly number[]): number {
  const peers = contenders.flatMap(({ peer }, i) => (peer ? [i] : []));
  return peers.reduce((best, i) => (milliseconds[i] < milliseconds[best] ? i : best), peers[0] ?? 0);
}

/** Linear interpolation between order statistics. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = p * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
}
