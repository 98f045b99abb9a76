import type { Tensor } from '../tensor.js';
import type { Context } from './context.js';
import type { Scheme } from './scheme.js';
import type { Statistic, Statistics } from './statistic.js';

/**
 * An edge that a transform may scale: what produces a vector of channels, and every linear that reads it.
 * Scaling the producer's channel j by 1/s_j and column j of all consumers by s_j leaves the function unchanged.
 */
export interface ScalableEdge {
  /** Unique inside the block: `input_layernorm->q,k,v`. */
  readonly id: string;
  readonly producer: {
    readonly kind: 'norm' | 'linear';
    /** Module name. Its `.weight` (gain, or rows of a linear) and `.bias` are scaled. */
    readonly module: string;
    /** Rows of a linear producer that feed the edge (fused qkv, gate/up); all when absent. */
    readonly rows?: readonly [start: number, end: number];
  };
  /** Modules of the consuming linears. All share the input. */
  readonly consumers: readonly string[];
  /**
   * Channels of the consumer that each producer row feeds: grouped-query v->o repeats every head `repeat` times, so that
   * the `repeat` copies must share one scale. 1 when absent. `headDim` is the length of the repeated run.
   */
  readonly repeat?: { readonly times: number; readonly headDim: number };
  /** Activation between producer and consumers through which a positive scale passes (`relu`); others are not edges. */
  readonly through?: 'relu';
}

/** Weights of a block by tensor name; f32 `[out, in]` for linears whatever the file's order. */
export type BlockWeights = Map<string, Tensor<'f32'>>;

export interface TransformInput {
  readonly edges: readonly ScalableEdge[];
  readonly weights: BlockWeights;
  /** Statistics of a linear's input, by module name. */
  statistics(module: string): Statistics;
  scheme(module: string): Scheme | undefined;
  /** The block's output for the kept calibration inputs under changed weights, to judge a choice by the module output. */
  evaluate?(weights: BlockWeights, modules: readonly string[]): Promise<number>;
}

/** Changes weights across layers without changing the function. Returns what it changed; inputs stay as they are. */
export interface Transform {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly needs: readonly Statistic<any>[];
  apply(input: TransformInput, context: Context): Promise<TransformResult>;
}

export interface TransformResult {
  /** Changed tensors only. */
  readonly weights: BlockWeights;
  /** Per-channel factors by which inputs of a linear were multiplied (1/s), by module: statistics are rescaled by them. */
  readonly inputScales: ReadonlyMap<string, Float32Array>;
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}
