/** One thing that is timed. */
interface Contender {
  readonly name: string;
  /** Does the work once. Whatever it needs is made before; results go to memory that is already there where possible. */
  run(): unknown;
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
  /** The first one is what the others are compared with. */
  readonly contenders: readonly Contender[];
  /**
   * Least speed of a contender, as a share of the first one's. What stays below is printed as such and makes the run end
   * with 1 when it was started with `--check`.
   */
  readonly atLeast?: Readonly<Record<string, number>>;
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
}
