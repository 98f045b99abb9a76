import type { Context } from './context.js';
import type { LinearRole, ModelDescription } from './model.js';
import type { Scheme } from './scheme.js';
import type { Statistic, Statistics } from './statistic.js';
import type { StreamKernels } from './stream-kernels.js';
import type { Tensor } from './tensor.js';

/** Rows of a linear's weight `[out, in]`. */
export interface RowSelection {
  /** All when absent. */
  readonly rows?: readonly [start: number, end: number];
  /**
   * Repeats `rows` after each this many rows, up to the last one (heads of GPT-NeoX: query, key, value); once when
   * absent.
   */
  readonly period?: number;
}

/**
 * An edge that a transform may scale: the module that produces a vector of channels, and every linear that reads it.
 * Scaling the producer's channel j by 1/s_j and column j of all consumers by s_j leaves the function unchanged.
 */
export interface ScalableEdge {
  /** Unique inside the block: `input_layernorm->q,k,v`. */
  readonly id: string;
  readonly producer: {
    readonly kind: 'norm' | 'linear';
    /** Module name. Its `.weight` (gain, or rows of a linear) and `.bias` are scaled. */
    readonly module: string;
    /** The norm's gain is its weight plus this (Gemma: 1); the weight itself when absent. */
    readonly gainOffset?: 1;
    /** With `rows` of a linear that feed the edge (fused qkv, gate/up). */
  } & RowSelection;
  /** Modules of the consuming linears. All share the input. */
  readonly consumers: readonly string[];
  /**
   * For grouped-query v->o: every head of the producer is repeated `repeat.times` times, so the copies must share one
   * scale. 1 when absent. `headDim` is the length of the repeated run.
   */
  readonly repeat?: { readonly times: number; readonly headDim: number };
  /**
   * Activation between producer and consumers that a positive scale commutes with (`relu`); other activations make no
   * edge.
   */
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
  /** The roles of a linear of the block; empty if they are not known. */
  roles(module: string): readonly LinearRole[];
  /**
   * Mean squared change of the output that the module of `modules` adds to the residual stream (whole attention for
   * q,k,v; whole MLP for gate,up) on kept calibration inputs, when `weights` replace the block's own tensors.
   */
  evaluate?(weights: BlockWeights, modules: readonly string[]): Promise<number>;
}

/**
 * Changes weights of one block without changing its function (AWQ and SmoothQuant scales). Returns the changed weights;
 * its inputs stay as they are. Runs block by block, before the block's linears are quantized.
 */
export interface Transform {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly needs: readonly Statistic<any>[];
  /** The edges that `apply` may scale. Their tensors are written in f32, so folding loses nothing. */
  edges(edges: readonly ScalableEdge[]): readonly ScalableEdge[];
  /**
   * Returns the reason why this step cannot run between these others, or undefined. The plan calls it. The plan itself
   * refuses a step that is named twice, and a rewrite after a transform (rotations fold the norm gains, and would undo
   * the transform's change of them).
   */
  refuse?(before: readonly ModelStep[], after: readonly ModelStep[]): string | undefined;
  apply(input: TransformInput, context: Context): Promise<TransformResult>;
}

export interface TransformResult {
  /** Changed tensors only; with them the block computes the same function. */
  readonly weights: BlockWeights;
  /**
   * Weights that quantizers get instead of those above, when a transform also changes values to suit the grid (AWQ
   * clamps them). They change the function, so only the quantizer uses them; errors are measured against the others.
   */
  readonly clipped?: BlockWeights;
  /**
   * Per-channel factors that inputs of a linear were multiplied by (1/s), by module: statistics are rescaled by them.
   */
  readonly inputScales: ReadonlyMap<string, Float32Array>;
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** A step of a recipe that comes before quantization. */
export type ModelStep = Transform | Rewrite;

/** Weights by checkpoint name: f32, linears `[out, in]`, ties resolved. */
export interface WeightSource {
  /** @param into memory to reuse: the tensor may be a view of it, valid until the next weight is read into it */
  weight(name: string, into?: WeightBuffers): Promise<Tensor<'f32'>>;
}

/**
 * Memory for a weight's bytes and for its values. A buffer that is too small is ignored. Fresh memory costs a page
 * fault for every 4 KiB, more than reading and decoding the data.
 */
export interface WeightBuffers {
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
  /** `kernels.stream` of the run: decodes f16 and bf16. */
  readonly stream: StreamKernels;
}

/**
 * Changes a whole model tensor by tensor, before anything runs, without changing its function (rotations of the
 * residual stream). The list of changed tensors is known at once, so a plan can show it; values are computed when they
 * are read.
 */
export interface Rewrite {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /**
   * An operation that a runtime must compute for the rewritten model beyond its architecture, in words
   * (`a Hadamard transform before down_proj`). Layouts of runtimes that do not compute it must refuse the recipe, or
   * the result would be wrong.
   */
  readonly online?: string;
  /**
   * Returns the reason why this model cannot be rewritten, with the name of the obstacle, or undefined. The plan calls
   * it.
   */
  refuse?(model: ModelDescription): string | undefined;
  /**
   * @param context `random` comes from the recipe's seed. Called for the plan and again for the run: it must draw the
   *   same values.
   */
  apply(model: ModelDescription, source: WeightSource, context: Pick<Context, 'random' | 'kernels'>): RewrittenModel;
}

export interface RewrittenModel extends WeightSource {
  /**
   * Tensors whose values change, with their shapes `[out, in]`; ones that the source does not have are new (an untied
   * head).
   */
  readonly changed: ReadonlyMap<string, readonly number[]>;
  /** Keys of config.json that change with them: `tie_word_embeddings: false`. */
  readonly config: Readonly<Record<string, unknown>>;
}
