/** Parameters of a training by unique name, changed in place. */
export type ParameterSet = ReadonlyMap<string, Float32Array>;

/**
 * Changes parameters by their gradients. Its state is plain arrays by name, so that a training can be written to a file
 * and go on to the same bytes.
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
   * From the next step on the second moment stays as it is: 1-bit Adam exchanges signs, whose squares say nothing. Absent
   * where the optimizer has no second moment, or cannot freeze it.
   */
  freezeSecondMoment?(): void;
  /** Bytes of state for this many parameters. */
  stateBytes(parameters: number): number;
  /** Bytes of state that it holds now. */
  heldBytes(): number;
  /** State for a checkpoint, by name. */
  save(): Map<string, Float32Array>;
  load(state: ReadonlyMap<string, Float32Array>): void;
}
