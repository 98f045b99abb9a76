import type { Kernels } from './kernels.js';
import type { Tensor } from './tensor.js';

/** A batch of inputs of one linear, row-major `[tokens, width]`. */
export interface ActivationBatch {
  readonly x: Float32Array;
  readonly tokens: number;
  readonly width: number;
  /**
   * The inputs of the same linear for the same tokens in the unquantized model, when the statistic requests them
   * (`paired`).
   */
  readonly reference?: Float32Array;
  /**
   * For linears whose output is added to the residual stream, with `paired`: the error of that stream so far,
   * unquantized minus quantized, `[tokens, hidden]`.
   */
  readonly residualError?: Float32Array;
  /**
   * Replaces `residualError` when a statistic requests it (`outputs`): the output without the bias, `[tokens, hidden]`,
   * for which the residual stream after the linear equals that of the unquantized model.
   */
  readonly wanted?: Float32Array;
  /**
   * The residual stream that the linear adds to, `[tokens, hidden]`: with `residualError` the unquantized model's, with
   * `wanted` the quantized one's.
   */
  readonly residual?: Float32Array;
  /** The unquantized model does not run on these tokens (`Quantizer.pairedTokens`), so paired statistics skip them. */
  readonly unpaired?: boolean;
}

/**
 * A statistic that a method needs from calibration: create, update, merge, serialise. Only the statistic reads its
 * state. `merge(a, b)` equals an update with the union; the order changes only rounding.
 */
export interface Statistic<State> {
  /** Unique: `hessian`, `absMax`. Key of the state in files. */
  readonly name: string;
  /** True when `update` needs `batch.reference`. */
  readonly paired?: boolean;
  /** True when `update` reads `batch.wanted`, for a linear that alone adds to the residual stream. */
  readonly outputs?: boolean;
  create(width: number): State;
  update(state: State, batch: ActivationBatch, kernels: Kernels): Promise<void>;
  /**
   * Called after the last token on which the unquantized model runs, if `unpaired` tokens follow.
   * @param statistics the other statistics of the same tokens
   */
  endPaired?(state: State, statistics: Statistics): void;
  /** `X^T X` `[width, width]`, if the state has it: the metric for errors of a linear's output. */
  metric?(state: State): ArrayLike<number>;
  /**
   * The diagonal of `X^T X` `[width]`, for states without the whole matrix: errors are then measured as if inputs were
   * uncorrelated.
   */
  diagonal?(state: State): ArrayLike<number>;
  /** False after an input that was not finite. If it is absent, the caller checks each input. */
  finite?(state: State): boolean;
  /**
   * Adds `other` to `state`.
   * @throws CalibrationError when the widths differ
   */
  merge(state: State, other: State): void;
  /** Number of tokens seen. */
  count(state: State): number;
  /** Plain tensors, for a safetensors file. */
  serialize(state: State): Record<string, Tensor>;
  deserialize(tensors: Record<string, Tensor>): State;
  /** Bytes of a state of this width, for the plan's prediction of memory. */
  bytes(width: number): number;
}

/** Access to the statistics of one linear. */
export interface Statistics {
  /**
   * The state of a statistic.
   * @throws CalibrationError naming the statistic and the linear when it was not collected
   */
  get<State>(statistic: Statistic<State>): State;
  has(statistic: Statistic<unknown>): boolean;
}
