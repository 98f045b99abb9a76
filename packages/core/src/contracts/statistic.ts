import type { Tensor } from '../tensor.js';
import type { Kernels } from './kernels.js';

/** A batch of inputs of one linear: what the layer saw, row-major `[tokens, width]`. */
export interface ActivationBatch {
  readonly x: Float32Array;
  readonly tokens: number;
  readonly width: number;
  /** The same tokens at the same place in the unquantized model, when the statistic asks for them (`paired`). */
  readonly reference?: Float32Array;
  /**
   * For linears whose output is added to the residual stream, with `paired`: what that stream lacks so far, unquantized
   * minus quantized, `[tokens, hidden]`.
   */
  readonly residualError?: Float32Array;
  /**
   * Instead of `residualError`, when a statistic asks for it (`outputs`): the output without the bias, `[tokens, hidden]`, with which
   * the residual stream behind the linear would be the unquantized model's.
   */
  readonly wanted?: Float32Array;
  /**
   * The residual stream that the linear adds to, `[tokens, hidden]`: with `residualError` the unquantized model's, with `wanted`
   * the quantized one's.
   */
  readonly residual?: Float32Array;
  /** The unquantized model does not run on these tokens (`Quantizer.pairedTokens`): paired statistics leave them out. */
  readonly unpaired?: boolean;
}

/**
 * What a method needs from calibration, as an object: create, update, merge, serialise. The state is the statistic's own.
 * `merge(a, b)` equals having seen the union; order changes only rounding.
 */
export interface Statistic<State> {
  /** Unique: `hessian`, `absMax`. Key of the state in files. */
  readonly name: string;
  /** True when `update` needs `batch.reference`. */
  readonly paired?: boolean;
  /** True when `update` reads `batch.wanted`, where a linear alone adds to the residual stream. */
  readonly outputs?: boolean;
  create(width: number): State;
  update(state: State, batch: ActivationBatch, kernels: Kernels): Promise<void>;
  /**
   * Called when all tokens are in that the unquantized model runs on and others follow, which are `unpaired`.
   * @param statistics what else is collected of the same tokens
   */
  endPaired?(state: State, statistics: Statistics): void;
  /** `X^T X` `[width, width]`, where the state has it: what errors of a layer's output are measured with. */
  metric?(state: State): ArrayLike<number>;
  /** The diagonal of `X^T X` `[width]`, of states that have no more of it: errors are then measured as if inputs were uncorrelated. */
  diagonal?(state: State): ArrayLike<number>;
  /** False once an input that was not finite has come in. Where it is absent inputs are looked at one by one. */
  finite?(state: State): boolean;
  /** Adds `other` to `state`. Throws {@link CalibrationError} when the widths differ. */
  merge(state: State, other: State): void;
  /** Number of tokens seen. */
  count(state: State): number;
  /** Plain tensors, for a safetensors file. */
  serialize(state: State): Record<string, Tensor>;
  deserialize(tensors: Record<string, Tensor>): State;
  /** Bytes of a state of this width, for the plan's memory forecast. */
  bytes(width: number): number;
}

/** Read side of what was collected for one linear. */
export interface Statistics {
  /** The state, or throws {@link CalibrationError} naming the statistic and the layer when it was not collected. */
  get<State>(statistic: Statistic<State>): State;
  has(statistic: Statistic<unknown>): boolean;
}
