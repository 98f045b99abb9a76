/** Measures the time of each stage of a run. The context has it; code names the stage that it works on. */
export interface Profile {
  /**
   * Does the work and adds its time to the stage `name`. The time of stages inside it is counted only for them, so the
   * times of all stages add up to that of the run. Stages must be nested: do not use it for work that runs at the same
   * time as other work.
   */
  stage<R>(name: string, work: () => R | Promise<R>): Promise<R>;
  /** Adds floating-point operations to the current stage: a multiplication and an addition are two. */
  count(operations: number): void;
}

/** The time of a stage. */
export interface StageTime {
  readonly stage: string;
  readonly seconds: number;
  readonly calls: number;
  /**
   * Floating-point operations of the kernels' and the engine's products; operations that no code counts are missing.
   */
  readonly operations: number;
}
