/** Where the time of a run goes. Handed down in the context; whoever does a piece of work says what it is. */
export interface Profile {
  /**
   * Does the work and adds its time to the stage `name`. Stages inside it take their own time away from it, so that the times of
   * all stages add up to that of the run. Stages end in the order in which they would nest: work that goes on beside others
   * is not for them.
   */
  stage<R>(name: string, work: () => R | Promise<R>): Promise<R>;
  /** Floating-point operations of the stage under way: a multiplication and an addition are two. */
  count(operations: number): void;
}

/** What a stage took. */
export interface StageTime {
  readonly stage: string;
  readonly seconds: number;
  readonly calls: number;
  /** Floating-point operations of the kernels' and the engine's products; what nobody counts is not in them. */
  readonly operations: number;
}
