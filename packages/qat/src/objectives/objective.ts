/** Values of the trained tensors, by checkpoint name. */
export type TensorValues = ReadonlyMap<string, Float32Array>;

export interface LossAndDerivatives {
  readonly loss: number;
  /** Derivatives by every trained tensor, each with the length of the tensor. */
  readonly derivatives: ReadonlyMap<string, Float32Array>;
}

/**
 * The function that a training minimises. It has the engine and the data, and it does not know how tensors are made of
 * parameters.
 */
export interface Objective {
  /** Training windows. */
  readonly windows: number;
  /**
   * Mean loss over these windows, and its derivatives.
   * @param batch number of the batch since the training began; random choices (dropout) depend on it
   */
  evaluate(values: TensorValues, windows: Int32Array, batch: number): Promise<LossAndDerivatives>;
  /** The loss on the windows held out from training; NaN if there are none. */
  heldOut?(values: TensorValues): Promise<number>;
  /** Describes the first part of the model whose output is not finite, for messages. */
  locate?(values: TensorValues, windows: Int32Array): Promise<string>;
}
