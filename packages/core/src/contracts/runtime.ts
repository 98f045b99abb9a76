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
  /** A tensor by its name in the checkpoint (`model.norm.weight`); linears' weights are `[out, in]` here. */
  weight(name: string): T;
  has(name: string): boolean;
  /** Applies the linear `module` (`model.layers.0.self_attn.q_proj`): weight and, if there is one, bias. */
  linear(module: string, x: T): T;
  /** Keys and values on their way into attention `[batch, length, kvHeads*headDim]`. */
  cache(site: CacheSite, x: T): T;
}
