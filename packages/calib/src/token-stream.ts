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

export interface TokenStreamOptions {
  /** Ids wanted; all when absent. */
  readonly limit?: number;
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
}

/** All documents as one stream of ids, each with what the tokenizer puts around a text. Stops after `limit` ids. */
export function tokenStream(
  documents: readonly string[],
  tokenizer: TextEncoderLike,
  limit = Number.POSITIVE_INFINITY,
): Int32Array {
  const ids: number[] = [];
  for (const part of parts(documents, tokenizer)) {
    for (const id of part.ids) ids.push(id);
    if (ids.length >= limit) break;
  }
  return Int32Array.from(ids.length > limit ? ids.slice(0, limit) : ids);
}

/** The same ids as {@link tokenStream}; says how far it is, and can be interrupted. */
export async function readTokenStream(
  documents: readonly string[],
  tokenizer: TextEncoderLike,
  { limit = Number.POSITIVE_INFINITY, progress, signal }: TokenStreamOptions = {},
): Promise<Int32Array> {
  const characters = documents.reduce((sum, { length }) => sum + length, 0);
  const ids: number[] = [];
  let done = 0;
  let shown = performance.now();
  for (const part of parts(documents, tokenizer)) {
    for (const id of part.ids) ids.push(id);
    done += part.characters;
    if (ids.length >= limit) break;
    if (performance.now() - shown < 500) continue;
    // Timers and signals are served between chunks.
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    shown = performance.now();
    if (Number.isFinite(limit)) progress?.({ task: 'tokenize', done: ids.length, total: limit, unit: 'tokens' });
    else progress?.({ task: 'tokenize', done, total: characters, unit: 'characters' });
  }
  return Int32Array.from(ids.length > limit ? ids.slice(0, limit) : ids);
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
