import { type ModelDescription, type Runtime, SchemeError } from '@q/core';
import { createDecoder, type DecoderOptions } from '@q/models';
import { mostLikely, type Sampler } from './sampler.js';

export interface GenerateOptions extends DecoderOptions {
  /** Most tokens to write. */
  readonly tokens: number;
  /** Chooses each token; the most likely one when absent. */
  readonly sampler?: Sampler;
  /** Ids behind which nothing is written. They are given out as well. */
  readonly stop?: ReadonlySet<number>;
  readonly signal?: AbortSignal;
}

/** Tokens of a prompt that go through the model at a time: their activations are what a long prompt takes. */
const promptPart = 256;

/**
 * Writes on from a prompt, token by token, with a cache: each id is given out as soon as it is chosen.
 * @param prompt ids, at least one, below `vocabularySize`
 * @throws SchemeError when the prompt is empty or the model has fewer positions than prompt and tokens together
 */
export async function* generate<T>(
  model: ModelDescription,
  runtime: Runtime<T>,
  prompt: readonly number[],
  { tokens, sampler = mostLikely, stop = new Set(), signal, cache }: GenerateOptions,
): AsyncGenerator<number, void, void> {
  if (prompt.length === 0) throw new SchemeError('the prompt has no token: at least one is needed to go on from');
  const unknown = prompt.find((id) => !(Number.isInteger(id) && id >= 0 && id < model.vocabularySize));
  if (unknown !== undefined)
    throw new SchemeError(`the prompt has token ${unknown}; the model's vocabulary has ${model.vocabularySize}`);
  if (prompt.length + tokens > model.maxPositions)
    throw new SchemeError(
      `a prompt of ${prompt.length} tokens and ${tokens} more are above the model's ${model.maxPositions} positions`,
    );
  const { ops } = runtime;
  const decoder = createDecoder(model, runtime, 1, cache ? { cache } : {});
  // One for all tokens: V8 frees arrays of the logits only once they are 64 MB.
  const values = new Float32Array(model.vocabularySize);
  try {
    let logits: T | undefined;
    for (let start = 0; start < prompt.length; start += promptPart) {
      signal?.throwIfAborted();
      if (logits !== undefined) ops.dispose(logits);
      logits = decoder.append(Int32Array.from(prompt.slice(start, start + promptPart)));
    }
    for (let written = 0; written < tokens && logits !== undefined; written++) {
      signal?.throwIfAborted();
      const id = sampler(await ops.data(logits, values));
      ops.dispose(logits);
      logits = undefined;
      yield id;
      if (stop.has(id)) return;
      if (written + 1 < tokens) logits = decoder.append(Int32Array.of(id));
    }
    if (logits !== undefined) ops.dispose(logits);
  } finally {
    decoder.dispose();
  }
}
