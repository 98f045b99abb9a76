import { tokenKinds } from '../vocabulary.js';
import type { StoredTokenizer } from './stored-tokenizer.js';

/** A kind of tokenizer in files, and how to write it as a tokenizer.json. */
export interface StoredModel {
  /** `tokenizer.ggml.model` */
  readonly name: string;
  /** `normalizer`, `pre_tokenizer`, `decoder` and `model`. */
  json(stored: StoredTokenizer): Readonly<Record<string, unknown>>;
  /** The spelling of a token in a tokenizer.json; as in the file when absent. */
  spelling?(token: string, kind: number): string;
  /** Whether a text begins with BOS if the file does not say. */
  addsBos?(stored: StoredTokenizer): boolean;
  /** Special tokens that begin and end every text, whatever the file says. */
  readonly frame?: readonly [begin: string, end: string];
}

/** Ids by token. Rows of the embeddings without a token have none. */
export function vocabularyOf(
  { tokens, kinds }: StoredTokenizer,
  spelling: (token: string, kind: number) => string = (token) => token,
): Record<string, number> {
  // Without a prototype, since a token may be called __proto__.
  const vocab: Record<string, number> = Object.create(null);
  for (const [id, token] of tokens.entries())
    if (kinds[id] !== tokenKinds.unused) vocab[spelling(token, kinds[id])] = id;
  return vocab;
}
