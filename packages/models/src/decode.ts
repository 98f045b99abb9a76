import { languageModel, type ModelDescription, type Runtime, type RuntimeWrapper, ShapeError } from '@q/core';
import { runBlock } from './run.js';
import { wrapRuntime } from './runtime.js';

/** A batch of sequences that grow together. */
export interface Decoder<T> {
  /** Tokens that every sequence has. */
  readonly length: number;
  /**
   * Appends tokens to every sequence.
   * @param ids `[batch, count]`, row-major
   * @returns logits after the last of them, `[batch, vocabularySize]`; the caller disposes them
   */
  append(ids: Int32Array): T;
  /** Frees the cache. */
  dispose(): void;
}

/**
 * Decoding with a cache: keys and values of the tokens so far are kept on the engine, so that a token costs one pass over
 * the weights and not over the whole sequence. Any wrapper of the runtime goes on working, quantized caches too. Where rotary
 * frequencies follow the length (dynamic, LongRoPE), cached keys keep the ones they came with, as in transformers' cache.
 */
export function createDecoder<T>(model: ModelDescription, runtime: Runtime<T>, batch: number): Decoder<T> {
  const { ops } = runtime;
  const past = new Map<string, T>();
  let length = 0;
  const wrapper = (start: number): RuntimeWrapper<T> => ({
    start,
    cache(site, x, inner) {
      const own = inner(site, x);
      if (site.stage === 'beforeRope') return own;
      const key = `${site.kind} ${site.layer}`;
      const before = past.get(key);
      const whole = ops.keep(before === undefined ? ops.scale(own, 1) : ops.append(before, own));
      if (before !== undefined) ops.dispose(before);
      past.set(key, whole);
      return whole;
    },
  });
  const { logits: logitsOf } = languageModel(model, 'decoding');
  return {
    get length() {
      return length;
    },
    append(ids) {
      const count = ids.length / batch;
      if (!Number.isInteger(count) || count < 1)
        throw new ShapeError(`${ids.length} ids are no tokens for each of ${batch} sequences`);
      if (length + count > model.maxPositions)
        throw new ShapeError(`${length + count} tokens are more than the model's ${model.maxPositions} positions`);
      const cached = wrapRuntime(runtime, wrapper(length));
      const logits = ops.scope(() => {
        let hidden = model.embed(cached, ids, batch, count);
        for (const block of model.blocks) hidden = runBlock(block, cached, hidden);
        return ops.reshape(logitsOf(cached, lastTokens(hidden, count)), [batch, model.vocabularySize]);
      });
      length += count;
      return logits;
    },
    dispose() {
      for (const handle of past.values()) ops.dispose(handle);
      past.clear();
    },
  };

  /** `[batch, count, hidden]` -> `[batch, 1, hidden]`. */
  function lastTokens(hidden: T, count: number): T {
    if (count === 1) return hidden;
    const wide = ops.reshape(hidden, [batch, count * model.hiddenSize]);
    const [, last] = ops.split(wide, [(count - 1) * model.hiddenSize, model.hiddenSize]);
    return ops.reshape(last as T, [batch, 1, model.hiddenSize]);
  }
}
