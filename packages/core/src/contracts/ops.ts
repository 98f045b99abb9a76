import type { Tensor } from '../tensor.js';
import type { GatheredGrams, Kernels } from './kernels.js';
import type { KvCacheContent } from './kv-attention.js';
import type { SummedPackedWeight } from './packed-products.js';

/**
 * Position tables of rotary embeddings: `cos` and `sin` are `[positions, headDim/2]` f32. `headDim` counts the features of a
 * head that are rotated: all of them, or the first ones (partial rotary embeddings).
 */
export interface RotaryTable {
  readonly cos: Float32Array;
  readonly sin: Float32Array;
  readonly positions: number;
  readonly headDim: number;
}

export type Activation = 'relu' | 'silu' | 'gelu' | 'geluTanh' | 'sigmoid' | 'tanh';

export interface AttentionArgs<T> {
  /** `[batch, length, heads*headDim]` */
  readonly q: T;
  /** `[batch, keys, kvHeads*headDim]`; `keys` is `length`, or more when the queries are the last ones of a sequence. */
  readonly k: T;
  readonly v: T;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Multiplies the scores; 1/sqrt(headDim) as a rule. */
  readonly scale: number;
  /** Sliding window in tokens: a query sees keys that are less than this away from it; unlimited when absent. */
  readonly window?: number;
  /** False: a query also sees the keys behind it (encoders). The queries must be the whole sequence. True when absent. */
  readonly causal?: boolean;
  /** Added to the scaled scores of every sequence, `[heads, length, keys]`; a constant: it has no gradient. */
  readonly bias?: T;
  /** Limits the scaled scores s, with their bias, to `softCap * tanh(s / softCap)` (Gemma 2); no limit when absent. */
  readonly softCap?: number;
  /**
   * `[heads]`: a score of each head that takes part in its softmax and has no value, so that the weights of the keys add up to
   * less than 1 (gpt-oss); none when absent. Engines may refuse a gradient by it.
   */
  readonly sinks?: T;
}

/** What of {@link AttentionArgs} attention over packed codes knows. */
export interface CodesAttentionArgs {
  readonly heads: number;
  readonly scale: number;
  /** Sliding window in tokens. */
  readonly window?: number;
}

/** Sends tokens to experts, for an interpreter that has no values to read while a pass runs. */
export interface TokenRouting<T> {
  /**
   * Parts of a stage's state for each expert: `expert.E` `[rows, hidden]`, `expert.E.tokens` and `expert.E.weights` `[rows, 1]`.
   * @param x `[tokens, hidden]`
   * @param logits `[tokens, experts]`, of which each token takes the `count` largest; of equal ones the lower index
   * @param normalize weights of a token add up to 1
   */
  route(x: T, logits: T, count: number, normalize: boolean): Record<string, T>;
  /** Adds `rows` `[rows, hidden]` to the `tokens` `[rows, 1]` of `sum` `[batch, length, hidden]`. */
  addRows(sum: T, rows: T, tokens: T): T;
}

/**
 * The operations that forward passes are written in. Synchronous: a backend that computes later returns a handle.
 * `T` is a handle of f32 values (i32 where said). tfjs is one interpreter; a graph writer can be another.
 */
export interface Ops<T> {
  /** Uploads; any float dtype becomes f32. */
  fromTensor(tensor: Tensor): T;
  fromF32(data: Float32Array, shape: readonly number[]): T;
  shape(x: T): readonly number[];
  /** Downloads; `into`, of the value's length, is memory that may be used for it. */
  data(x: T, into?: Float32Array): Promise<Float32Array>;
  dataSync(x: T): Float32Array;
  /** Frees everything made inside `f` except what it returns (a handle, or an array or record of handles) and kept ones. */
  scope<R>(f: () => R): R;
  keep(x: T): T;
  dispose(x: T): void;

  /** Rows of `table` `[vocabulary, width]` at `ids` -> `[batch, length, width]`. */
  embed(table: T, ids: Int32Array, batch: number, length: number): T;
  /** `x` `[..., in]`, `weight` `[out, in]`, `bias` `[out]` -> `[..., out]`. */
  linear(x: T, weight: T, bias?: T): T;
  /** Of equal shapes, or `b` repeated over the leading axes of `a`: a bias `[features]`, positions `[length, features]`. */
  add(a: T, b: T): T;
  /** Elementwise; an axis of length 1 is repeated. */
  mul(a: T, b: T): T;
  scale(a: T, factor: number): T;
  /** `x * gain / sqrt(mean(x^2) + epsilon)` over the last axis. */
  rmsNorm(x: T, gain: T, epsilon: number): T;
  layerNorm(x: T, gain: T, bias: T | undefined, epsilon: number): T;
  activation(kind: Activation, x: T): T;
  /** Limits to `[min, max]`; where there are gradients, it is 0 outside. */
  clip(x: T, min: number, max: number): T;
  /** Over the last axis. */
  softmax(x: T): T;
  /** Splits the last axis. */
  split(x: T, sizes: readonly number[]): T[];
  /**
   * Rotates halves (Hugging Face layout: pairs are j and j + headDim/2, of the table's `headDim`) of each head, whose further
   * features stay as they are; the first position is `start`, or 0.
   */
  rotary(x: T, heads: number, table: RotaryTable, start?: number): T;
  /** Softmax attention; -> `[batch, length, heads*headDim]`. */
  attention(args: AttentionArgs<T>): T;
  /**
   * Causal attention of the last tokens of a sequence over a cache that holds all of it in packed codes. Absent where an engine has no
   * such product: a cache is read as f32 there.
   * @param q `[1, tokens, heads*headDim]`
   * @throws ShapeError as `KvAttention`
   */
  attentionOnCodes?(q: T, cache: KvCacheContent, args: CodesAttentionArgs): T;
  /** `[batch, m, width]` and `[batch, n, width]`, one after the other -> `[batch, m + n, width]`. */
  append(a: T, b: T): T;
  /** Rows `start..start+count` of the first axis. */
  rows(x: T, start: number, count: number): T;
  /** `x` `[n, width]` -> `[count, width]`: row `ids[i]` is the sum of the rows `i` of `x` that name it, 0 where none does. */
  scatterRows(x: T, ids: Int32Array, count: number): T;
  /** One size may be -1: whatever is left. */
  reshape(x: T, shape: readonly number[]): T;
  /** Swaps the last two axes. */
  transpose(x: T): T;
  /** Where `dataSync` cannot be asked for the logits of a router. */
  readonly routing?: TokenRouting<T>;
}

/** Ops that also differentiate. */
export interface DifferentiableOps<T> extends Ops<T> {
  /** Value of `f` (a scalar) and its gradients by `variables`. */
  valueAndGradients(
    f: (variables: Readonly<Record<string, T>>) => T,
    variables: Readonly<Record<string, T>>,
  ): { value: T; gradients: Record<string, T> };
  /** Mean negative log likelihood of `targets` under `logits` `[tokens, vocabulary]`; -1 is ignored. */
  crossEntropy(logits: T, targets: Int32Array): T;
  /**
   * Mean over tokens of KL(teacher || student) in nats, both logits `[tokens, vocabulary]`. The teacher is a constant:
   * the gradient by the student's logits is the difference of the probabilities over the number of tokens.
   */
  klDivergence(student: T, teacher: T): T;
  sub(a: T, b: T): T;
  div(a: T, b: T): T;
  abs(x: T): T;
  /** Sum of all elements, a scalar. */
  sum(x: T): T;
  /** Nearest integer, half to even. The gradient is the identity (straight-through). */
  round(x: T): T;
  /** Largest element of each row of the last axis, kept as an axis of size 1. A constant: it has no gradient. */
  rowMax(x: T): T;
}

/** A backend for forward passes, made ready. */
export interface ForwardEngine<T> {
  /** Unique: `wasm-relaxed`, `tfjs-wasm`, `tfjs-node`. */
  readonly name: string;
  readonly ops: Ops<T>;
  /** Why this one and not another, for the report. */
  readonly notes: readonly string[];
  /** What it gives for a sequence are the same bytes whatever else is in its batch. */
  readonly independentSequences?: boolean;
  /**
   * Takes a weight in whose codes stay packed: `linear` multiplies by it and `embed` reads rows of it; everything else refuses it.
   * The arrays are copied. Absent where the engine has no such products.
   * @throws ShapeError when a part does not fit {@link PackedWeight}, or the parts or the order do not fit together
   */
  packedWeight?(weight: SummedPackedWeight): T;
  /** For Gram matrices of its activations, where its own products are quicker than the kernels': as `Kernels.gatherGrams`. */
  gatherGrams?(kernels: Kernels): GatheredGrams;
  dispose(): Promise<void>;
}

/** A backend that also differentiates. */
export interface Engine<T> extends ForwardEngine<T> {
  readonly ops: DifferentiableOps<T>;
  /**
   * Does the work and counts the bytes of values alive on the engine meanwhile. Tables and masks that stay with the engine are
   * not counted: whether this work makes them, or finds them, depends on what the process has done before. Absent where an
   * engine cannot tell.
   */
  observeBytes?<R>(work: () => Promise<R>): Promise<ObservedBytes<R>>;
}

export interface ObservedBytes<R> {
  readonly result: R;
  /** When the work began. */
  readonly before: number;
  /** The most there were at any moment. */
  readonly peak: number;
}
