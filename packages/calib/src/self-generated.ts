import { type Context, type Ops, SchemeError, yieldToEventLoop } from '@q/core';
import type { Windows } from './windows.js';

/** A model that can continue sequences. */
export interface Writer<T> {
  readonly ops: Ops<T>;
  readonly vocabularySize: number;
  /** A batch of empty sequences. `append` takes the next token of each and gives logits `[batch, vocabularySize]`. */
  decoder(batch: number): { append(ids: Int32Array): T; dispose(): void };
}

export interface SelfGeneratedOptions {
  readonly count: number;
  /** Tokens of a window. */
  readonly length: number;
  /** Windows that are written together. Default 64. */
  readonly batch?: number;
  /** Tokens that the tokenizer puts before a text; each window begins with them. Default: none. */
  readonly opening?: readonly number[];
  /** Lengths up to which the likeliest token is taken, in turns. Default 3, 4, 5. */
  readonly greedyLengths?: readonly number[];
  /** Windows that are there already, by index: the model goes on after them. */
  readonly finished?: ReadonlyMap<number, Int32Array>;
  /** Called with each batch of new windows, before the next one is begun. */
  onBatch?(first: number, windows: readonly Int32Array[]): Promise<void>;
}

/**
 * Text that a model writes itself, to train its quantized form on when there is no other (LLM-QAT, arXiv 2305.17888,
 * section 2.1). Each window begins with another token of the vocabulary, after the opening. Up to a length of 3, 4 or 5
 * the likeliest token follows, then tokens are drawn from the model's distribution. Greedy text repeats itself, and text
 * that is drawn from the first token on loses its subject. The paper found that the mixture is the best.
 *
 * Draws of a window depend on the seed and its index alone.
 */
export async function selfGeneratedWindows<T>(
  writer: Writer<T>,
  options: SelfGeneratedOptions,
  context: Context,
): Promise<Windows> {
  const { count, length, batch = 64, greedyLengths = [3, 4, 5], finished = new Map(), opening = [], onBatch } = options;
  const { ops, vocabularySize } = writer;
  if (!(count >= 1 && length >= 2 + opening.length))
    throw new SchemeError(`${count} windows of ${length} tokens cannot be written`);
  const ids = new Int32Array(count * length);
  const starts = firstTokens(vocabularySize, context);
  for (let first = 0; first < count; first += batch) {
    const size = Math.min(batch, count - first);
    const windows = Array.from({ length: size }, (_, i) =>
      ids.subarray((first + i) * length, (first + i + 1) * length),
    );
    const present = windows.map((_, i) => finished.get(first + i));
    if (present.every((window) => window?.length === length)) {
      for (const [i, window] of windows.entries()) window.set(present[i] as Int32Array);
      continue;
    }
    const random = windows.map((_, i) => context.random.fork(`written window ${first + i}`));
    for (const [i, window] of windows.entries()) window.set([...opening, starts[(first + i) % vocabularySize]]);
    const decoder = writer.decoder(size);
    try {
      for (let position = 1; position < length; position++) {
        await yieldToEventLoop(context.signal);
        const handle = decoder.append(Int32Array.from(windows, (window) => window[position - 1]));
        if (position <= opening.length) {
          ops.dispose(handle);
          continue;
        }
        const logits = await ops.data(handle);
        ops.dispose(handle);
        for (const [i, window] of windows.entries()) {
          const row = logits.subarray(i * vocabularySize, (i + 1) * vocabularySize);
          const index = first + i;
          const turn = (index % vocabularySize) + Math.floor(index / vocabularySize);
          const greedy = position - opening.length < greedyLengths[turn % greedyLengths.length];
          window[position] = greedy ? likeliest(row) : drawToken(row, random[i].uniform());
        }
        const done = first * length + size * (position + 1);
        context.progress({ task: 'write text', done, total: count * length, unit: 'tokens' });
      }
    } finally {
      decoder.dispose();
    }
    await onBatch?.(first, windows);
  }
  return { ids, count, length };
}

/** Every token of the vocabulary once, in an order of the seed's. */
function firstTokens(vocabularySize: number, context: Context): Int32Array {
  const random = context.random.fork('first tokens');
  const order = Int32Array.from({ length: vocabularySize }, (_, i) => i);
  for (let i = vocabularySize - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Of equal logits the lower id. */
function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/**
 * The token at a point of the cumulative distribution, summed in f64.
 * @param point uniform in [0, 1)
 */
export function drawToken(logits: Float32Array, point: number): number {
  const largest = logits[likeliest(logits)];
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += Math.exp(logits[i] - largest);
  let left = point * total;
  for (let i = 0; i < logits.length; i++) {
    left -= Math.exp(logits[i] - largest);
    if (left < 0) return i;
  }
  return likeliest(logits);
}
