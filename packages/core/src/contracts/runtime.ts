import type { Ops } from './ops.js';

/** Where a key or value passes by. */
export interface CacheSite {
  readonly layer: number;
  readonly kind: 'key' | 'value';
  /** Keys pass twice in models with rotary positions; values once (`afterRope`). */
  readonly stage: 'beforeRope' | 'afterRope';
}

/**
 * What a forward pass reaches weights, linears and the KV cache through. Everything that changes a model's behaviour is a
 * wrapper around it: recording, replaced weights, quantized activations, fake quantization. Nothing hooks into a model.
 */
export interface Runtime<T> {
  readonly ops: Ops<T>;
  /** Position of the first token of a pass: above 0 when the cache holds the tokens before it. 0 when absent. */
  readonly start?: number;
  /** A tensor by its name in the checkpoint (`model.norm.weight`); linears' weights are `[out, in]` here. */
  weight(name: string): T;
  has(name: string): boolean;
  /** Applies the linear `module` (`model.layers.0.self_attn.q_proj`): weight and, if there is one, bias. */
  linear(module: string, x: T): T;
  /** Queries on their way into attention, positions applied `[batch, length, heads*headDim]`. */
  query(layer: number, x: T): T;
  /** Keys and values on their way into attention `[batch, length, kvHeads*headDim]`. */
  cache(site: CacheSite, x: T): T;
}

/** Replaces parts of a runtime. Each function gets what it replaces as `inner` and may call it, or not. */
export interface RuntimeWrapper<T> {
  readonly start?: number;
  /** Operations instead of the runtime's: what the model itself calls; linears keep theirs. */
  readonly ops?: Ops<T>;
  weight?(name: string, inner: (name: string) => T, runtime: Runtime<T>): T;
  linear?(module: string, x: T, inner: (module: string, x: T) => T, runtime: Runtime<T>): T;
  query?(layer: number, x: T, inner: (layer: number, x: T) => T, runtime: Runtime<T>): T;
  cache?(site: CacheSite, x: T, inner: (site: CacheSite, x: T) => T, runtime: Runtime<T>): T;
}
