import {
  type DifferentiableOps,
  type ModelDescription,
  type Runtime,
  type RuntimeWrapper,
  type Scheme,
  SchemeError,
} from '@q/core';
import { wrapRuntime } from '@q/models';
import { fakeQuantize, refuseActivationScheme } from './fake-quantize.js';

export interface QuantizedRuntimeOptions {
  /** Scheme of the input of every linear of the blocks. Unquantized when absent. */
  readonly activations?: Scheme;
  /** Scheme of keys, before their rotation where there is one, and of values. Unquantized when absent. */
  readonly cache?: Scheme;
}

/**
 * A runtime whose linears get fake-quantized inputs, and whose attention gets a fake-quantized cache, with gradients.
 * LLM-QAT trains with it (W-A-KV). The head's input is not quantized.
 */
export function quantizedRuntime<T>(
  runtime: Runtime<T>,
  { head }: Pick<ModelDescription, 'head'>,
  options: QuantizedRuntimeOptions,
): Runtime<T> {
  const { activations, cache } = options;
  for (const scheme of [activations, cache]) {
    const refusal = scheme && refuseActivationScheme(scheme);
    if (refusal) throw new SchemeError(refusal);
  }
  const ops = runtime.ops as DifferentiableOps<T>;
  // Keys with rotary positions pass twice. They are quantized the first time.
  const rotated = new Set<number>();
  const wrapper: RuntimeWrapper<T> = {
    linear: (module, x, inner) =>
      inner(module, activations && module !== head?.module ? fakeQuantize(ops, x, activations) : x),
    cache(site, x, inner) {
      if (!cache) return inner(site, x);
      if (site.kind === 'key' && site.stage === 'beforeRope') rotated.add(site.block);
      const done = site.kind === 'key' && site.stage === 'afterRope' && rotated.has(site.block);
      return inner(site, done ? x : fakeQuantize(ops, x, cache));
    },
  };
  return wrapRuntime(runtime, wrapper);
}
