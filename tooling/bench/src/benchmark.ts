import type { Measurement } from './measure.js';

/** A function that is timed. */
export interface Contender {
  readonly name: string;
  /**
   * True for the work of other tools. If a comparison has such contenders, all are compared with the fastest of them.
   */
  readonly peer?: boolean;
  /** Does the work once. Its inputs are made before; results go to existing memory if possible. */
  run(): unknown;
  /** Largest resident memory of the runs so far, for work in a separate process. */
  readonly peakBytes?: number;
}

/** Contenders that do the same amount of work and are compared with one of them. */
export interface Comparison {
  readonly title: string;
  /** Amount of work of one run: 16777216 elements, 2e9 multiplications. */
  readonly work: number;
  /** Unit of `work`, for the rate: `elements`, `FLOP`, `bytes`. */
  readonly unit: string;
  /** Number of rounds, for runs so long that the usual number would take an hour. They are warmed up once. */
  readonly rounds?: number;
  /** Number of rounds before them that do not count. Default 2, or 1 if `rounds` is given. */
  readonly warmUps?: number;
  /** The contenders. They are compared with the fastest peer, or with the first contender if there is no peer. */
  readonly contenders: readonly Contender[];
  /**
   * Least speed of a contender, as a share of the baseline's speed. A contender below it is printed as such, and with
   * `--check` the run ends with 1.
   */
  readonly atLeast?: Readonly<Record<string, number>>;
  /**
   * Most resident memory of a contender, as a share of the leanest peer's. A contender above it is handled in the same
   * way.
   */
  readonly atMostMemory?: Readonly<Record<string, number>>;
  /**
   * The sizes of the contenders, in their order, if they are the same work at growing sizes. The table then gives the
   * power with which the time grows, instead of ratios.
   */
  readonly growth?: { readonly quantity: string; readonly sizes: readonly number[] };
}

/** The settings of a benchmark's run. */
export interface BenchmarkOptions {
  /** True if processor time is counted: contenders that can choose should use one thread. */
  readonly processorTime: boolean;
}

/**
 * A file in `src/benchmarks` exports an object of this type as `benchmark`; `pnpm bench NAME` runs it by the name of
 * its file. Comparisons are made one after the other, so only one uses memory at a time.
 */
export interface Benchmark {
  /** One sentence: the measured work, and the contenders with which it is compared. */
  readonly description: string;
  comparisons(options: BenchmarkOptions): Iterable<Comparison> | AsyncIterable<Comparison>;
  /** An SVG of the measurements; it is written to `.reports/NAME.svg`. */
  draw?(measured: readonly (Comparison & { readonly rows: readonly Measurement[] })[]): string;
}
