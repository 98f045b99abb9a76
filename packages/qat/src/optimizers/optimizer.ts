/** Parameters of a training by unique name, changed in place. */
export type ParameterSet = ReadonlyMap<string, Float32Array>;

/**
 * Changes parameters by their gradients. Its state is plain arrays by name, so a training can be written to a file and
 * continue to the same bytes.
 */
export interface Optimizer {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /**
   * One step.
   * @param rate learning rate of a parameter, by name
   */
  step(parameters: ParameterSet, gradients: ParameterSet, rate: (name: string) => number): void;
  /**
   * Freezes the second moment from the next step on, because 1-bit Adam exchanges signs, whose squares are always 1.
   * Absent if the optimizer has no second moment, or cannot freeze it.
   */
  freezeSecondMoment?(): void;
  /** Bytes of state for this many parameters. */
  stateBytes(parameters: number): number;
  /** Bytes of state at the moment. */
  heldBytes(): number;
  /** Returns the state for a checkpoint, by name. */
  save(): Map<string, Float32Array>;
  load(state: ReadonlyMap<string, Float32Array>): void;
}
