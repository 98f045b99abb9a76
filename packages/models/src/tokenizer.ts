import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { FormatError } from '@q/core';
import { checkTokenizerFiles } from './tokenizer-schema.js';

/** Turns text into ids, and ids into text. */
export interface Tokenizer {
  /** Id of the token that begins a sequence, if the model has one; `opening` says whether texts get it. */
  readonly bosId?: number;
  /** Ids that the tokenizer's post-processor puts before and after a text: `<bos>`; `[CLS]` and `[SEP]`; or none. */
  readonly opening: readonly number[];
  readonly closing: readonly number[];
  /** Ids without special tokens. */
  encode(text: string): number[];
  /** Text of ids, with special tokens, exactly as the tokens spell it. */
  decode(ids: readonly number[]): string;
}

/** Parsed files of a model folder. */
export interface TokenizerFiles {
  /** `tokenizer.json` */
  readonly tokenizer: object;
  /** `tokenizer_config.json`; `{}` if the folder has none. */
  readonly config: object;
  /** `config.json`; its `bos_token_id` is used when `tokenizer_config.json` does not mention a BOS token. */
  readonly model?: object;
}

/**
 * @throws FormatError when `tokenizer.json` is not a tokenizer, or its BOS token is not in the vocabulary
 */
export function loadTokenizer({ tokenizer, config, model = {} }: TokenizerFiles): Tokenizer {
  const loaded = construct(tokenizer, config);
  const settings = config as Record<string, unknown>;
  const bosId = findBos(loaded, settings, model as Record<string, unknown>);
  return {
    bosId,
    ...findFrame(loaded, settings, bosId),
    encode: (text) => {
      const { ids } = usable(() => loaded.encode(text, { add_special_tokens: false }));
      if (!ids.every((id) => Number.isInteger(id)))
        throw new FormatError(
          'tokenizer.json: has no id for a part of the text, and no unknown token that replaces it',
        );
      return ids;
    },
    // The clean-up removes spaces before punctuation, so a text would not survive a round trip.
    decode: (ids) =>
      usable(() => loaded.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false })),
  };
}

function construct(tokenizer: object, config: object): HuggingFaceTokenizer {
  if (!('model' in tokenizer)) throw new FormatError('tokenizer.json has no "model": it is not a tokenizer');
  checkTokenizerFiles(tokenizer, config);
  return usable(() => new HuggingFaceTokenizer(tokenizer, config));
}

/** Turns an error of the library into an error of the file. */
function usable<R>(work: () => R): R {
  try {
    return work();
  } catch (error) {
    throw new FormatError(`tokenizer.json cannot be used: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * Finds the tokens before and after a text by encoding with and without special tokens. A tokenizer whose file has no
 * such template may still request BOS with `add_bos_token`.
 */
function findFrame(
  tokenizer: HuggingFaceTokenizer,
  config: Record<string, unknown>,
  bosId: number | undefined,
): { opening: readonly number[]; closing: readonly number[] } {
  const [plain, framed] = [false, true].map((special) =>
    usable(() => tokenizer.encode('a', { add_special_tokens: special }).ids),
  ) as [number[], number[]];
  const last = framed.length - plain.length;
  const start = Array.from({ length: last + 1 }, (_, i) => i).find((i) => plain.every((id, j) => framed[i + j] === id));
  const opening = start === undefined ? [] : framed.slice(0, start);
  const closing = start === undefined ? [] : framed.slice(start + plain.length);
  if (opening.length === 0 && config['add_bos_token'] === true && bosId !== undefined)
    return { opening: [bosId], closing };
  return { opening, closing };
}

/** A `bos_token` of null means that there is none, even if the model's config has one (Qwen2). */
function findBos(
  tokenizer: HuggingFaceTokenizer,
  config: Record<string, unknown>,
  model: Record<string, unknown>,
): number | undefined {
  if (!('bos_token' in config)) {
    const id = model['bos_token_id'];
    return Number.isInteger(id) ? (id as number) : undefined;
  }
  const entry = config['bos_token'];
  if (entry === null) return undefined;
  const token = typeof entry === 'string' ? entry : (entry as { content?: unknown } | undefined)?.content;
  const id = typeof token === 'string' ? tokenizer.token_to_id(token) : undefined;
  if (id === undefined) {
    throw new FormatError(`tokenizer_config.json: bos_token ${JSON.stringify(entry)} is not in the vocabulary`);
  }
  return id;
}
