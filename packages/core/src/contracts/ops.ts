import type { HalfMatrix } from './half-matrix.js';
import type { GatheredGrams, Kernels } from './kernels.js';
import type { KvCacheContent } from './kv-attention.js';
import type { SummedPackedWeight } from './packed-products.js';
import type { Tensor } from './tensor.js';

/**
 * Position tables of rotary embeddings: `cos` and `sin` are `[positions, headDim/2]` f32. `headDim` counts the features
 * of a head that are rotated: all of them, or the first ones (partial rotary embeddings).
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
  /** Sliding window in tokens: a query sees the keys that are less than this away from it; unlimited when absent. */
  readonly window?: number;
  /**
   * False: a query also sees the keys after it (encoders). The queries must be the whole sequence. True when absent.
   */
  readonly causal?: boolean;
  /** Added to the scaled scores of every sequence, `[heads, length, keys]`. A constant: it has no gradient. */
  readonly bias?: T;
  /** Limits the scaled scores s, with their bias, to `softCap * tanh(s / softCap)` (Gemma 2); no limit when absent. */
  readonly softCap?: number;
  /**
   * `[heads]`: an extra score of each head that is part of its softmax and has no value, so the weights of the keys add
   * up to less than 1 (gpt-oss). None when absent. Engines may refuse to differentiate it.
   */
  readonly sinks?: T;
}

/** The part of {@link AttentionArgs} for attention over packed codes. */
export interface CodesAttentionArgs {
  readonly heads: number;
  readonly scale: number;
  /** Sliding window in tokens. */
  readonly window?: number;
}

/** Sends tokens to experts, for an interpreter that cannot read values while a pass runs. */
export interface TokenRouting<T> {
  /**
   * Parts of a stage's state for each expert: `expert.E` `[rows, hidden]`, `expert.E.tokens` and `expert.E.weights`
   * `[rows, 1]`.
   * @param x `[tokens, hidden]`
   * @param logits `[tokens, experts]`; each token takes the `count` largest, and the lower index of equal ones
   * @param normalize whether the weights of a token add up to 1
   */
  route(x: T, logits: T, count: number, normalize: boolean): Record<string, T>;
  /** Adds `rows` `[rows, hidden]` to the `tokens` `[rows, 1]` of `sum` `[batch, length, hidden]`. */
  addRows(sum: T, rows: T, tokens: T): T;
}

/**
 * The operations of forward passes. Synchronous: an engine that computes later returns a handle. `T` is a handle of f32
 * values (i32 where stated). tfjs is one implementation; an implementation can also write a graph.
 */
export interface Ops<T> {
  /** Uploads a tensor; any float dtype becomes f32. */
  fromTensor(tensor: Tensor): T;
  fromF32(data: Float32Array, shape: readonly number[]): T;
  shape(x: T): readonly number[];
  /** Downloads values; `into`, of the value's length, is memory that it may use. */
  data(x: T, into?: Float32Array): Promise<Float32Array>;
  dataSync(x: T): Float32Array;
  /**
   * Frees everything made inside `f` except its result (a handle, or an array or record of handles) and kept handles.
   */
  scope<R>(f: () => R): R;
  keep(x: T): T;
  dispose(x: T): void;

  /** Rows of `table` `[vocabulary, width]` at `ids` -> `[batch, length, width]`. */
  embed(table: T, ids: Int32Array, batch: number, length: number): T;
  /** `x` `[..., in]`, `weight` `[out, in]`, `bias` `[out]` -> `[..., out]`. */
  linear(x: T, weight: T, bias?: T): T;
  /**
   * Adds tensors of equal shapes, or repeats `b` over the leading axes of `a`: a bias `[features]`, positions
   * `[length, features]`.
   */
  add(a: T, b: T): T;
  /** Elementwise; an axis of length 1 is repeated. */
  mul(a: T, b: T): T;
  scale(a: T, factor: number): T;
  /** `x * gain / sqrt(mean(x^2) + epsilon)` over the last axis. */
  rmsNorm(x: T, gain: T, epsilon: number): T;
  layerNorm(x: T, gain: T, bias: T | undefined, epsilon: number): T;
  activation(kind: Activation, x: T): T;
  /** Limits to `[min, max]`; the gradient is 0 outside. */
  clip(x: T, min: number, max: number): T;
  /** Over the last axis. */
  softmax(x: T): T;
  /** Splits the last axis. */
  split(x: T, sizes: readonly number[]): T[];
  /**
   * Rotates halves of each head (Hugging Face layout: pairs are j and j + headDim/2, with the table's `headDim`);
   * further features of the head stay as they are. The first position is `start`, or 0.
   */
  rotary(x: T, heads: number, table: RotaryTable, start?: number): T;
  /** Softmax attention; -> `[batch, length, heads*headDim]`. */
  attention(args: AttentionArgs<T>): T;
  /**
   * Causal attention of the last tokens of a sequence over a cache with the whole sequence in packed codes. Absent if
   * an engine has no such product: it then reads the cache as f32.
   * @param q `[1, tokens, heads*headDim]`
   * @throws ShapeError as `KvAttention`
   */
  attentionOnCodes?(q: T, cache: KvCacheContent, args: CodesAttentionArgs): T;
  /** `[batch, m, width]` and `[batch, n, width]`, concatenated -> `[batch, m + n, width]`. */
  append(a: T, b: T): T;
  /** Rows `start..start+count` of the first axis. */
  rows(x: T, start: number, count: number): T;
  /**
   * `x` `[n, width]` -> `[count, width]`: output row `r` is the sum of the rows `i` of `x` with `ids[i] = r`, 0 if
   * there are none.
   */
  scatterRows(x: T, ids: Int32Array, count: number): T;
  /** One size may be -1: it is computed from the others. */
  reshape(x: T, shape: readonly number[]): T;
  /** Swaps the last two axes. */
  transpose(x: T): T;
  /** For engines without `dataSync`, which cannot read the logits of a router. */
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

/** An engine for forward passes, ready to use. */
export interface ForwardEngine<T> {
  /** Unique: `wasm-relaxed`, `tfjs-wasm`, `tfjs-node`. */
  readonly name: string;
  readonly ops: Ops<T>;
  /** Why this engine was chosen and not another, for the report. */
  readonly notes: readonly string[];
  /** True: the output for a sequence has the same bytes for any other sequences in its batch. */
  readonly independentSequences?: boolean;
  /**
   * Loads a weight whose codes stay packed: `linear` multiplies by it and `embed` reads rows of it; all other
   * operations refuse it. The arrays are copied. Absent if the engine has no such products.
   * @throws ShapeError when a part does not fit {@link PackedWeight}, or the parts or the order do not fit together
   */
  packedWeight?(weight: SummedPackedWeight): T;
  /**
   * Loads a matrix `[out, in]` that stays in 16 bits: as for {@link packedWeight}, only `linear` and `embed` take it. They
   * give the bits that they give for its f32 values. Absent if the engine has no such products.
   */
  halfWeight?(matrix: HalfMatrix): Promise<T>;
  /**
   * As `Kernels.gatherGrams`, for Gram matrices of the engine's activations, if its own products are faster than those
   * of the kernels.
   */
  gatherGrams?(kernels: Kernels): GatheredGrams;
  dispose(): Promise<void>;
}

/** An engine that also differentiates. */
export interface Engine<T> extends ForwardEngine<T> {
  readonly ops: DifferentiableOps<T>;
  /**
   * Runs the work and counts the bytes of values on the engine. Tables and masks that the engine keeps are not counted,
   * since it depends on earlier work whether this work makes them. Absent if an engine cannot count.
   */
  observeBytes?<R>(work: () => Promise<R>): Promise<ObservedBytes<R>>;
}

export interface ObservedBytes<R> {
  readonly result: R;
  /** Bytes when the work began. */
  readonly before: number;
  /** The largest number of bytes during the work. */
  readonly peak: number;
}
