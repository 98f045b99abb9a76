import type { ProgressEvent } from '@q/core';

/** What calibration needs of a tokenizer. */
export interface TextEncoderLike {
  /** Ids of a text, without special tokens. */
  encode(text: string): readonly number[];
  /** Ids before each document and behind it: `<bos>`; `[CLS]` and `[SEP]`. None when absent. */
  readonly opening?: readonly number[];
  readonly closing?: readonly number[];
}

/** Characters that are tokenized at a time: tokenizers that do not split into words take more than linear time. */
const chunk = 4096;
/** Characters before a chunk that it is tokenized with, so that its first token is the one that follows them. */
const context = 48;
/** Places that are tried for the end of a context. */
const tries = 8;

/** How much of a stream is wanted, and how it will be cut. */
export interface StreamShape {
  /** Ids wanted; all when absent. */
  readonly limit?: number;
  /**
   * Tokens of the windows that the stream will be cut into. Each window then begins with the tokenizer's opening
   * tokens, also where it begins within a document, since a model whose tokenizer opens every text never runs without
   * them.
   * Gemma 3 270M has a perplexity of 131 on windows of WikiText-2 without `<bos>`, and of 30 with it.
   * Absent: the opening is only before each document.
   */
  readonly window?: number;
}

export interface TokenStreamOptions extends StreamShape {
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
}

/** All documents as one stream of ids, each with what the tokenizer puts around a text. */
export function tokenStream(
  documents: readonly string[],
  tokenizer: TextEncoderLike,
  shape: StreamShape = {},
): Int32Array {
  const stream = openStream(tokenizer, shape);
  for (const part of parts(documents, tokenizer)) if (stream.add(part.ids)) break;
  return stream.ids();
}

/** Collects the ids of parts up to the limit. */
function openStream({ opening = [] }: TextEncoderLike, { limit = Number.POSITIVE_INFINITY, window }: StreamShape) {
  const ids: number[] = [];
  return {
    get length() {
      return ids.length;
    },
    /** True when no more ids are wanted. */
    add(part: readonly number[]): boolean {
      for (const id of part) {
        const begins = window !== undefined && part !== opening && ids.length % window === 0;
        if (begins) ids.push(...opening);
        ids.push(id);
      }
      return ids.length >= limit;
    },
    ids: () => Int32Array.from(ids.length > limit ? ids.slice(0, limit) : ids),
  };
}

/** The same ids as {@link tokenStream}; says how far it is, and can be interrupted. */
export async function readTokenStream(
  documents: readonly string[],
  tokenizer: TextEncoderLike,
  { limit = Number.POSITIVE_INFINITY, window, progress, signal }: TokenStreamOptions = {},
): Promise<Int32Array> {
  const characters = documents.reduce((sum, { length }) => sum + length, 0);
  const stream = openStream(tokenizer, { limit, window });
  let done = 0;
  let shown = performance.now();
  for (const part of parts(documents, tokenizer)) {
    const enough = stream.add(part.ids);
    done += part.characters;
    if (enough) break;
    if (performance.now() - shown < 500) continue;
    // Timers and signals are served between chunks.
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    shown = performance.now();
    if (Number.isFinite(limit)) progress?.({ task: 'tokenize', done: stream.length, total: limit, unit: 'tokens' });
    else progress?.({ task: 'tokenize', done, total: characters, unit: 'characters' });
  }
  return stream.ids();
}

/** Chunks of documents and their ids. Where they are cut follows from the documents alone. */
function* parts(
  documents: readonly string[],
  tokenizer: TextEncoderLike,
): Generator<{ readonly ids: readonly number[]; readonly characters: number }> {
  const { opening = [], closing = [] } = tokenizer;
  for (const document of documents) {
    if (opening.length > 0) yield { ids: opening, characters: 0 };
    for (let start = 0; start < document.length; ) {
      const end = document.length - start < 2 * chunk ? document.length : cutAt(document, start + chunk);
      yield { ids: encodeChunk(document, start, end, tokenizer), characters: end - start };
      start = end;
    }
    if (closing.length > 0) yield { ids: closing, characters: 0 };
  }
}

/** The first blank at or behind a place, where a word begins; without one nearby, a place between two characters. */
function cutAt(text: string, from: number): number {
  const near = text.slice(from, from + chunk).search(/\s\S/);
  if (near >= 0) return from + near;
  const code = text.charCodeAt(from);
  return code >= 0xdc00 && code < 0xe000 ? from + 1 : from;
}

/**
 * Ids of `[start, end)` as the whole text has them: tokenized with some text before it, whose own ids are then taken away. Some
 * tokenizers put a mark before what they begin with, and all may join a blank to the word behind it.
 */
function encodeChunk(text: string, start: number, end: number, tokenizer: TextEncoderLike): readonly number[] {
  const own = text.slice(start, end);
  if (start === 0) return tokenizer.encode(own);
  for (let length = context, i = 0; i < tries; i++, length += 1 + (i % 3)) {
    const before = text.slice(Math.max(0, start - length), start);
    const [prefix, both] = [tokenizer.encode(before), tokenizer.encode(before + own)];
    if (prefix.every((id, at) => both[at] === id)) return both.slice(prefix.length);
  }
  return tokenizer.encode(own);
}

/** The ids of arrays or of an (async) iterable of arrays, one after the other. */
export async function collectTokens(
  source: Iterable<ArrayLike<number>> | AsyncIterable<ArrayLike<number>>,
): Promise<Int32Array> {
  const ids: number[] = [];
  for await (const part of source) for (let i = 0; i < part.length; i++) ids.push(part[i]);
  return Int32Array.from(ids);
}
