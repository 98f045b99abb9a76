/**
 * Workers that train one model together. Each has all parameters, takes a share of the windows of each batch, and
 * applies the mean of all gradients. So all workers have the same parameters, bit for bit. The context has it.
 */
export interface TrainingGroup {
  /** Number of this worker, from 0. Worker 0 writes checkpoints and results. */
  readonly rank: number;
  readonly workers: number;
  /** Name and options of the compression, for reports. */
  readonly compression: { readonly name: string; readonly options: Readonly<Record<string, unknown>> };
  /**
   * Present when workers exchange momenta instead of gradients after so many steps (1-bit Adam). The optimizer's second
   * moment is frozen from then on, and gradients are not clipped.
   */
  readonly momentumAfter?: number;
  /**
   * Begins one training.
   * @param shapes of all parameters by name, the same on all workers
   */
  start(shapes: ReadonlyMap<string, readonly number[]>): GroupTraining;
}

export interface GroupTraining {
  /**
   * @param gradients this worker's, by name: all of `shapes`
   * @param step number of the step, from 0
   * @returns the means over all workers
   * @throws FormatError when the message of a worker cannot be added up, naming the worker and the reason
   */
  reduce(gradients: ReadonlyMap<string, Float32Array>, step: number): Promise<Map<string, Float32Array>>;
  /**
   * The states of all workers by name, for the checkpoint that worker 0 writes. All workers call it at the same step.
   */
  gatherState(): Promise<ReadonlyMap<string, Float32Array>>;
  /** Resumes from the result of `gatherState`; every worker takes its own part. */
  restoreState(state: ReadonlyMap<string, Float32Array>): void;
  /** Gives all workers the value of worker 0. */
  fromFirst(
    state: ReadonlyMap<string, Float32Array> | undefined,
  ): Promise<ReadonlyMap<string, Float32Array> | undefined>;
  /** Bytes that this worker has sent to one other worker. */
  readonly sentBytes: number;
  /** Bytes that the same gradients take as f32. */
  readonly exactBytes: number;
}
