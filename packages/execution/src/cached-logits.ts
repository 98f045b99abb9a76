import { type ModelDescription, type Runtime, ShapeError } from '@q/core';
import { createDecoder, type DecoderOptions } from '@q/models';

/** Tokens that go through the model at a time: those before them are read from the cache. */
const part = 32;

/**
 * Logits of windows as a model gives them that reads earlier tokens from a cache: for perplexity and KL divergence of a quantized
 * cache with `evaluate` of `@q/eval`.
 * @param windows ids `[count, length]`
 */
export function cachedLogits<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  windows: { readonly ids: Int32Array | Uint32Array | Uint16Array; readonly count: number; readonly length: number },
  options: DecoderOptions & { readonly signal?: AbortSignal } = {},
) {
  const { vocabularySize } = model;
  const { length } = windows;
  return {
    vocabularySize,
    /** Of windows `first .. first+count-1`: `[count, length, vocabularySize]`. */
    async logits(first: number, count: number): Promise<Float32Array> {
      if (first + count > windows.count)
        throw new ShapeError(`windows up to ${first + count} were asked for, there are ${windows.count}`);
      const out = new Float32Array(count * length * vocabularySize);
      for (let window = 0; window < count; window++) {
        const decoder = createDecoder(model, runtime, 1, options);
        try {
          for (let start = 0; start < length; start += part) {
            options.signal?.throwIfAborted();
            const from = (first + window) * length;
            const ids = windows.ids.subarray(from + start, from + Math.min(length, start + part));
            const handle = decoder.appendAll(Int32Array.from(ids));
            out.set(await runtime.ops.data(handle), (window * length + start) * vocabularySize);
            runtime.ops.dispose(handle);
          }
        } finally {
          decoder.dispose();
        }
      }
      return out;
    },
  };
}
