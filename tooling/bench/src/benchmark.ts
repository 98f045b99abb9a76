import type { Measurement } from './measure.js';

/** One thing that is timed. */
export interface Contender {
  readonly name: string;
  /** Made by others. Where a comparison has such contenders, all are compared with the fastest of them. */
  readonly peer?: boolean;
  /** Does the work once. Whatever it needs is made before; results go to memory that is already there where possible. */
  run(): unknown;
  /** Largest resident memory of the runs so far, for work that has a process of its own. */
  readonly peakBytes?: number;
}

/** Contenders that do the same amount of work and are compared with one of them. */
export interface Comparison {
  readonly title: string;
  /** What one run handles: 16777216 elements, 2e9 multiplications. */
  readonly work: number;
  /** Unit of `work`, for the rate: `elements`, `FLOP`, `bytes`. */
  readonly unit: string;
  /** Rounds, for runs so long that the usual number of them would take an hour; they are warmed up once. */
  readonly rounds?: number;
  /** Rounds before them that do not count. Default 2, or 1 where `rounds` is given. */
  readonly warmUps?: number;
  /** What the others are compared with: the fastest peer, or the first one where there is no peer. */
  readonly contenders: readonly Contender[];
  /**
   * Least speed of a contender, as a share of what it is compared with. What stays below is printed as such and makes the run
   * end with 1 when it was started with `--check`.
   */
  readonly atLeast?: Readonly<Record<string, number>>;
  /** Most resident memory of a contender, as a share of the leanest peer's; what takes more is treated alike. */
  readonly atMostMemory?: Readonly<Record<string, number>>;
  /**
   * What each contender handles, in their order, when they are one thing at growing sizes: the table then gives the power with
   * which the time grows instead of ratios.
   */
  readonly growth?: { readonly quantity: string; readonly sizes: readonly number[] };
}

/** How a benchmark is run. */
export interface BenchmarkOptions {
  /** Processor time is counted: contenders that can choose should take one thread. */
  readonly processorTime: boolean;
}

/**
 * A file in `src/benchmarks` exports one as `benchmark`; `pnpm bench NAME` runs it by the name of its file. Comparisons are
 * made one after the other, so that only one holds memory at a time.
 */
export interface Benchmark {
  /** In a sentence: what is measured, and beside what. */
  readonly description: string;
  comparisons(options: BenchmarkOptions): Iterable<Comparison> | AsyncIterable<Comparison>;
  /** An SVG of what was measured; goes to `.reports/NAME.svg`. */
  draw?(measured: readonly (Comparison & { readonly rows: readonly Measurement[] })[]): string;
}
