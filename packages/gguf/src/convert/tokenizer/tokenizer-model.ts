import type { GgufValue } from '../../metadata.js';
import type { TokenizerDefaults } from '../conversion.js';
import { list, text } from '../values.js';
import type { AddedToken } from './vocabulary.js';

type Json = Readonly<Record<string, unknown>>;

/** A tokenizer.json with further data. */
export interface TokenizerInput {
  /** Of the file, for messages. */
  readonly name: string;
  readonly json: Json;
  readonly model: Json;
  readonly added: readonly AddedToken[];
  /** Rows of the embeddings. */
  readonly size: number;
  readonly defaults: TokenizerDefaults;
  /** Name of the pre-tokenizer, if the user gave one. */
  readonly preTokenizer?: string;
}

/** A kind of tokenizer that llama.cpp supports: how to recognize it in a tokenizer.json, and the keys that it needs. */
export interface TokenizerModel {
  accepts(input: TokenizerInput): boolean;
  metadata(input: TokenizerInput): ReadonlyMap<string, GgufValue>;
}

/** The keys that all models share. */
export const vocabularyKeys = (
  model: string,
  pre: string,
  tokens: readonly string[],
  kinds: readonly number[],
): Map<string, GgufValue> =>
  new Map([
    ['tokenizer.ggml.model', text(model)],
    ['tokenizer.ggml.pre', text(pre)],
    ['tokenizer.ggml.tokens', list('string', tokens)],
    ['tokenizer.ggml.token_type', list('i32', kinds)],
  ]);
