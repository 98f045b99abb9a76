import type { Scheme } from './scheme.js';

/**
 * How the inputs of a linear are quantized when the linear runs. A plain object, part of recipes and files.
 */
export interface ActivationScheme {
  /** `int8` or `e4m3`, symmetric, per token or per tensor; `dynamic` unless the scale was calibrated. */
  readonly scheme: Scheme;
  /** The calibrated scale of a static scheme. Absent when dynamic, and in a plan, which does not know it yet. */
  readonly scale?: number;
  /**
   * LLM.int8(): columns with a magnitude of at least this are multiplied in floating point. 0: no column is. Absent:
   * the method is not LLM.int8().
   */
  readonly outlierThreshold?: number;
  /**
   * Dynamic FP8: the largest magnitude that a scale covers; larger values saturate ({@link llama3Bound}). Absent: no
   * bound.
   */
  readonly bound?: number;
}
