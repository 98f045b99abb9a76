import type { Scheme } from './scheme.js';

/** How the inputs of a linear are quantized when it runs on integers. A plain object, part of recipes and files. */
export interface ActivationScheme {
  /** `int8`, symmetric, per token or per tensor; `dynamic` unless the scale was calibrated. */
  readonly scheme: Scheme;
  /** The calibrated scale of a static scheme; absent when dynamic, and in a plan, where it is not known yet. */
  readonly scale?: number;
  /**
   * LLM.int8(): columns that hold a magnitude of at least this are multiplied in floating point. 0: no column is.
   * Absent: the method is another one.
   */
  readonly outlierThreshold?: number;
}
