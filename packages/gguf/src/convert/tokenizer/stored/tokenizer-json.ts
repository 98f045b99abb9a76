import { SchemeError } from '@q/core';
import type { GgufMetadata } from '../../../metadata.js';
import type { TokenizerFiles } from '../../conversion.js';
import { roles } from '../tokenizer-metadata.js';
import { tokenKinds } from '../vocabulary.js';
import { storedByteLevel } from './byte-level-json.js';
import { storedSentencePiece, storedUnigram } from './sentence-piece-json.js';
import type { StoredModel } from './stored-model.js';
import { StoredTokenizer } from './stored-tokenizer.js';
import { storedWordPiece } from './word-piece-json.js';

const models: readonly StoredModel[] = [storedByteLevel, storedSentencePiece, storedUnigram, storedWordPiece];

/** A tokenizer in the form of a model folder, and the ids that end a text. */
export interface StoredTokenizerFiles extends TokenizerFiles {
  readonly generation: Readonly<Record<string, unknown>>;
}

/**
 * The tokenizer's files from a GGUF file: tokenizer.json, tokenizer_config.json, the chat template and
 * generation_config.json. The tokenizer splits text as llama.cpp does.
 * @param name of the file, for messages
 * @throws FormatError for metadata that are not a tokenizer; SchemeError for an unknown kind
 */
export function storedTokenizer(name: string, metadata: GgufMetadata): StoredTokenizerFiles {
  const stored = new StoredTokenizer(name, metadata);
  const kind = stored.text('ggml.model');
  const model = models.find((each) => each.name === kind);
  if (!model)
    throw new SchemeError(
      `${name}: tokenizer.ggml.model is ${JSON.stringify(kind)}: ${models.map((each) => each.name).join(', ')} can be read`,
    );
  const { spelling = (token: string) => token } = model;
  const spell = (id: number) => spelling(stored.tokens[id], stored.kinds[id]);
  const special = specialTokens(stored);
  const named = new Set(special.map(([, id]) => id));
  const added = stored.tokens.flatMap((_, id) => {
    const kind = stored.kinds[id];
    const control = kind === tokenKinds.control || kind === tokenKinds.unknown || named.has(id);
    const content = spell(id);
    if (!control && (kind !== tokenKinds.userDefined || content !== stored.tokens[id])) return [];
    return [
      { id, content, ...{ single_word: false, lstrip: false, rstrip: false, normalized: false }, special: control },
    ];
  });
  const [begin, end] = frameOf(stored, model);
  const template = stored.text('chat_template');
  const config = Object.fromEntries(special.map(([role, id]) => [`${role}_token`, spell(id)]));
  const ends = [stored.id('eos'), stored.id('eot')].filter((id) => id !== undefined);
  return {
    tokenizer: {
      ...{ version: '1.0', truncation: null, padding: null, added_tokens: added },
      post_processor: templateProcessing(begin, end, spell),
      ...model.json(stored),
    },
    config: { ...config, add_bos_token: begin !== undefined, clean_up_tokenization_spaces: false },
    generation: {
      ...(stored.id('bos') === undefined ? {} : { bos_token_id: stored.id('bos') }),
      ...(ends.length > 0 ? { eos_token_id: ends.length === 1 ? ends[0] : [...new Set(ends)] } : {}),
      ...(stored.id('padding') === undefined ? {} : { pad_token_id: stored.id('padding') }),
    },
    ...(template === undefined ? {} : { chatTemplate: template }),
  };
}

const specialTokens = (stored: StoredTokenizer): readonly (readonly [role: string, id: number])[] =>
  roles.flatMap(([role, key]) => {
    const id = stored.id(key);
    return id === undefined ? [] : [[role, id] as const];
  });

/** Ids before and after every text. */
function frameOf(stored: StoredTokenizer, model: StoredModel): readonly [number | undefined, number | undefined] {
  if (model.frame)
    return [stored.id(model.frame[0]) ?? stored.id('bos'), stored.id(model.frame[1]) ?? stored.id('eos')];
  return [
    stored.flag('add_bos_token', model.addsBos?.(stored) ?? false) ? stored.id('bos') : undefined,
    stored.flag('add_eos_token', model.name === 't5') ? stored.id('eos') : undefined,
  ];
}

function templateProcessing(begin: number | undefined, end: number | undefined, spell: (id: number) => string) {
  const token = (id: number | undefined, type: number) =>
    id === undefined ? [] : [{ SpecialToken: { id: spell(id), type_id: type } }];
  const text = (id: 'A' | 'B', type: number) => ({ Sequence: { id, type_id: type } });
  const ids = [...new Set([begin, end])].filter((id) => id !== undefined);
  return {
    type: 'TemplateProcessing',
    single: [...token(begin, 0), text('A', 0), ...token(end, 0)],
    pair: [...token(begin, 0), text('A', 0), ...token(end, 0), ...token(begin, 1), text('B', 1), ...token(end, 1)],
    special_tokens: Object.fromEntries(ids.map((id) => [spell(id), { id: spell(id), ids: [id], tokens: [spell(id)] }])),
  };
}
