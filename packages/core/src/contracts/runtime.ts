import type { Ops } from './ops.js';

/** The point at which a key or value is passed on. */
export interface CacheSite {
  /** Index of the block. */
  readonly block: number;
  readonly kind: 'key' | 'value';
  /** Keys are passed on twice in models with rotary positions; values once (`afterRope`). */
  readonly stage: 'beforeRope' | 'afterRope';
}

/**
 * Gives a forward pass its weights, linears and KV cache. Code that changes a model's behaviour wraps it: recording,
 * replaced weights, quantized activations, fake quantization. There are no hooks in a model.
 */
export interface Runtime<T> {
  readonly ops: Ops<T>;
  /** Position of the first token of a pass: above 0 when the cache has the tokens before it. 0 when absent. */
  readonly start?: number;
  /** A tensor by its name in the checkpoint (`model.norm.weight`); linears' weights are `[out, in]` here. */
  weight(name: string): T;
  has(name: string): boolean;
  /** Applies the linear `module` (`model.layers.0.self_attn.q_proj`): weight and, if there is one, bias. */
  linear(module: string, x: T): T;
  /** Called with the queries before attention, positions applied `[batch, length, heads*headDim]`. */
  query(block: number, x: T): T;
  /** Called with the keys and values before attention `[batch, length, kvHeads*headDim]`. */
  cache(site: CacheSite, x: T): T;
}

/** Replaces parts of a runtime. Each function gets the replaced one as `inner`, and may call it or not. */
export interface RuntimeWrapper<T> {
  readonly start?: number;
  /** Replaces the operations that the model itself calls; linears keep those of the runtime. */
  readonly ops?: Ops<T>;
  weight?(name: string, inner: (name: string) => T, runtime: Runtime<T>): T;
  linear?(module: string, x: T, inner: (module: string, x: T) => T, runtime: Runtime<T>): T;
  query?(block: number, x: T, inner: (block: number, x: T) => T, runtime: Runtime<T>): T;
  cache?(site: CacheSite, x: T, inner: (site: CacheSite, x: T) => T, runtime: Runtime<T>): T;
}
