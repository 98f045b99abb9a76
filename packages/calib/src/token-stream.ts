/** What calibration needs of a tokenizer. */
export interface TextEncoderLike {
  /** Ids of a text, without special tokens. */
  encode(text: string): readonly number[];
  /** Put before each document when there is one. */
  readonly bosId?: number;
}

/** All documents as one stream of ids, each preceded by BOS if the tokenizer has one. Stops after `limit` ids. */
export function tokenStream(
  documents: readonly string[],
  tokenizer: TextEncoderLike,
  limit = Number.POSITIVE_INFINITY,
): Int32Array {
  const ids: number[] = [];
  for (const document of documents) {
    if (tokenizer.bosId !== undefined) ids.push(tokenizer.bosId);
    for (const id of tokenizer.encode(document)) ids.push(id);
    if (ids.length >= limit) break;
  }
  return Int32Array.from(ids.length > limit ? ids.slice(0, limit) : ids);
}

/** The ids of arrays or of an (async) iterable of arrays, one after the other. */
export async function collectTokens(
  source: Iterable<ArrayLike<number>> | AsyncIterable<ArrayLike<number>>,
): Promise<Int32Array> {
  const ids: number[] = [];
  for await (const part of source) for (let i = 0; i < part.length; i++) ids.push(part[i]);
  return Int32Array.from(ids);
}
