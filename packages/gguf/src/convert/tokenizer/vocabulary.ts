import { FormatError } from '@q/core';

/** ggml's kinds of tokens. */
export const tokenKinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;
type TokenKind = (typeof tokenKinds)[keyof typeof tokenKinds];

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** Tokens by id, with the data that a runtime needs for each. */
export interface Vocabulary {
  readonly tokens: string[];
  readonly kinds: TokenKind[];
}

/** SentencePiece's replacement of a space. */
export const wordStart = '\u2581';

/** `added_tokens` of a tokenizer.json. */
export function addedTokens(tokenizer: Readonly<Record<string, unknown>>): readonly AddedToken[] {
  const list = tokenizer.added_tokens;
  if (!Array.isArray(list)) return [];
  return list.flatMap(({ id, content, special }) =>
    typeof id === 'number' && typeof content === 'string' ? [{ id, content, special: special === true }] : [],
  );
}

/** Some models do not mark their control tokens as such. */
const looksSpecial = (token: string): boolean =>
  /^(?:<pad>|<mask>|<2mass>|\[@BOS@\])$|^<\|.*\|>$|^<unused\d+>$|^<｜.*｜>$/.test(token);

/**
 * Tokens of a model, then the added ones. Ids without a token get a generated name, since a file has one token for each
 * row of the embeddings.
 * @param size rows of the embeddings
 * @throws FormatError for an id beyond them
 */
export function buildVocabulary(
  name: string,
  entries: Iterable<readonly [token: string, id: number]>,
  added: readonly AddedToken[],
  size: number,
): Vocabulary {
  const tokens: (string | undefined)[] = new Array(size).fill(undefined);
  const kinds = new Array<TokenKind>(size).fill(tokenKinds.unused);
  const place = (id: number, token: string, kind: TokenKind) => {
    if (!(id >= 0 && id < size))
      throw new FormatError(`${name}: token ${JSON.stringify(token)} has id ${id}, the embeddings have ${size} rows`);
    tokens[id] = token;
    kinds[id] = kind;
  };
  for (const [token, id] of entries) place(id, token, tokenKinds.normal);
  for (const { id, content, special } of added) {
    const control = special || looksSpecial(content);
    // The runtime looks for user-defined tokens in the original text.
    place(
      id,
      control ? content : content.replaceAll(wordStart, ' '),
      control ? tokenKinds.control : tokenKinds.userDefined,
    );
  }
  const seen = new Set(tokens);
  return {
    kinds,
    tokens: tokens.map((token, id) => {
      if (token !== undefined) return token;
      let filler = `[PAD${id}]`;
      while (seen.has(filler)) filler = `[${filler}]`;
      return filler;
    }),
  };
}
