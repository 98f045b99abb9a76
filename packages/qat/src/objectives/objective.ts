/** Values of the trained tensors, by checkpoint name. */
export type TensorValues = ReadonlyMap<string, Float32Array>;

export interface LossAndDerivatives {
  readonly loss: number;
  /** By every trained tensor, as long as its value. */
  readonly derivatives: ReadonlyMap<string, Float32Array>;
}

/** What is minimised. Knows the engine and the data; knows nothing of how tensors are made. */
export interface Objective {
  /** Training windows. */
  readonly windows: number;
  /**
   * Loss on these windows (mean over them) and its derivatives.
   * @param batch number of the batch since the training began: what is drawn at random (dropout) depends on it
   */
  evaluate(values: TensorValues, windows: Int32Array, batch: number): Promise<LossAndDerivatives>;
  /** Loss alone, on the windows held out from training; not a number when there are none. */
  heldOut?(values: TensorValues): Promise<number>;
  /** The first part of the model whose output is not finite, in words. For messages. */
  locate?(values: TensorValues, windows: Int32Array): Promise<string>;
}
