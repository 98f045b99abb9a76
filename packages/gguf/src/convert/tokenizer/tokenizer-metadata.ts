import { FormatError, SchemeError } from '@q/core';
import type { GgufValue } from '../../metadata.js';
import type { TokenizerDefaults, TokenizerFiles } from '../conversion.js';
import { bool, text, u32 } from '../values.js';
import { byteLevelModel } from './byte-level.js';
import { sentencePieceModel } from './sentence-piece.js';
import type { TokenizerInput, TokenizerModel } from './tokenizer-model.js';
import { addedTokens } from './vocabulary.js';
import { wordPieceModel } from './word-piece.js';

type Json = Readonly<Record<string, unknown>>;

const models: readonly TokenizerModel[] = [byteLevelModel, sentencePieceModel, wordPieceModel];

export interface TokenizerOptions {
  readonly name: string;
  readonly files: TokenizerFiles;
  /** `config.json` */
  readonly config: Json;
  readonly size: number;
  readonly defaults?: TokenizerDefaults;
  readonly preTokenizer?: string;
}

/**
 * `tokenizer.*` of a file.
 * @throws FormatError if there is no tokenizer.json, SchemeError for a tokenizer without a name in llama.cpp
 */
export function tokenizerMetadata(options: TokenizerOptions): ReadonlyMap<string, GgufValue> {
  const { name, files, config, size, defaults = {}, preTokenizer } = options;
  const json = files.tokenizer;
  if (!json) throw new FormatError(`${name}: has no tokenizer.json: a GGUF file holds its tokenizer`);
  const model = (json.model ?? {}) as Json;
  const input: TokenizerInput = {
    ...{ name: `${name}: tokenizer.json`, json, model, size, defaults },
    added: addedTokens(json),
    ...(preTokenizer === undefined ? {} : { preTokenizer }),
  };
  const kind = models.find((each) => each.accepts(input));
  if (!kind)
    throw new SchemeError(
      `${input.name}: a tokenizer of type ${JSON.stringify(model.type)} with this pre-tokenizer is not known to llama.cpp`,
    );
  const keys = new Map(kind.metadata(input));
  for (const [key, value] of specialTokens(input, files, config)) keys.set(key, value);
  const template = chatTemplate(files);
  if (template !== undefined) keys.set('tokenizer.chat_template', text(template));
  return keys;
}

/** Special tokens by their keys in tokenizer_config.json, in config.json and in llama.cpp. */
export const roles = [
  ['bos', 'bos'],
  ['eos', 'eos'],
  ['unk', 'unknown'],
  ['pad', 'padding'],
  ['sep', 'seperator'],
  ['cls', 'cls'],
  ['mask', 'mask'],
] as const;

function specialTokens(input: TokenizerInput, files: TokenizerFiles, config: Json): readonly [string, GgufValue][] {
  const settings = files.config ?? {};
  const ids = new Map<string, number>();
  for (const [role] of roles) {
    const entry = settings[`${role}_token`];
    const token = typeof entry === 'string' ? entry : (entry as { content?: unknown } | undefined)?.content;
    const id = typeof token === 'string' ? idOf(input, token) : undefined;
    const said = config[`${role}_token_id`];
    const first = Array.isArray(said) ? said[0] : said;
    if (id !== undefined) ids.set(role, id);
    else if (entry !== null && typeof first === 'number' && first < input.size) ids.set(role, first);
  }
  // Encoders begin with [CLS] and end with [SEP]; llama.cpp takes these from the ids of begin and end.
  if (!ids.has('bos') && ids.has('cls')) ids.set('bos', ids.get('cls') as number);
  if (!ids.has('eos') && ids.has('sep')) ids.set('eos', ids.get('sep') as number);
  const [before, after] = templateEnds(input.json);
  // The tokens that a template puts around every text are their begin and end, also if the config does not name them.
  if (!ids.has('bos') && before !== undefined && before >= 0) ids.set('bos', before);
  if (!ids.has('eos') && after !== undefined && after >= 0) ids.set('eos', after);
  const keys = roles.flatMap(([role, key]): [string, GgufValue][] => {
    const id = ids.get(role);
    return id === undefined ? [] : [[`tokenizer.ggml.${key}_token_id`, u32(id)]];
  });
  const adds = (role: 'bos' | 'eos', by: number | undefined): boolean => {
    if (by !== undefined) return by === ids.get(role);
    return ids.has(role) && settings[`add_${role}_token`] === true;
  };
  keys.push(['tokenizer.ggml.add_bos_token', bool(adds('bos', before))]);
  keys.push(['tokenizer.ggml.add_eos_token', bool(adds('eos', after))]);
  return keys;
}

function idOf({ added, model }: TokenizerInput, token: string): number | undefined {
  const own = added.find(({ content }) => content === token);
  if (own) return own.id;
  const { vocab } = model;
  if (Array.isArray(vocab)) {
    const index = vocab.findIndex(([piece]) => piece === token);
    return index < 0 ? undefined : index;
  }
  return (vocab as Readonly<Record<string, number>> | undefined)?.[token];
}

interface TemplatePart {
  readonly SpecialToken?: { readonly id: string };
}

/** Ids of the tokens that the post-processor puts before and after a text; undefined if it has none. */
function templateEnds(json: Json): readonly [before: number | undefined, after: number | undefined] {
  interface Processor {
    readonly type?: string;
    readonly processors?: readonly Processor[];
    readonly single?: readonly TemplatePart[];
    readonly special_tokens?: Readonly<Record<string, { readonly ids: readonly number[] }>>;
    readonly cls?: readonly [string, number];
    readonly sep?: readonly [string, number];
  }
  const processor = (json.post_processor ?? undefined) as Processor | undefined;
  const all = processor?.type === 'Sequence' ? (processor.processors ?? []) : processor ? [processor] : [];
  for (const { type, single = [], special_tokens = {}, cls, sep } of all) {
    if (type === 'BertProcessing' || type === 'RobertaProcessing') return [cls?.[1], sep?.[1]];
    if (type !== 'TemplateProcessing') continue;
    const id = (part: TemplatePart | undefined) =>
      part?.SpecialToken ? special_tokens[part.SpecialToken.id]?.ids[0] : -1;
    return [id(single[0]), id(single.at(-1))];
  }
  return [undefined, undefined];
}

/** From a separate file, or from tokenizer_config.json as one text or as several with names. */
function chatTemplate({ chatTemplate: own, config }: TokenizerFiles): string | undefined {
  if (own !== undefined) return own;
  const entry = config?.chat_template;
  if (typeof entry === 'string') return entry;
  if (!Array.isArray(entry)) return undefined;
  const named = entry.find(({ name }) => name === 'default') ?? entry[0];
  return typeof named?.template === 'string' ? named.template : undefined;
}
