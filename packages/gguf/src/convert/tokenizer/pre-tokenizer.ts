import { SchemeError } from '@q/core';

/** The way to split text before byte pairs are merged. llama.cpp has a name for each way. */

const contractions = "'s|'t|'re|'ve|'m|'ll|'d";
const rest = '\\s+(?!\\S)|\\s+';
const cased = (suffix: string, digits: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+${suffix}|` +
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*${suffix}|` +
  `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|${rest}`;
const words = (letters: string, punctuation: string, digits: string) =>
  `(?i:${contractions})|[^\\r\\n\\p{L}\\p{N}]?${letters}+|${digits}| ?[^\\s${punctuation}]+[\\r\\n]*|\\s*[\\r\\n]+|${rest}`;

/** The expressions of `Split` pre-tokenizers, one after the other, and llama.cpp's name for them. */
const byExpressions: readonly (readonly [name: string, ...expressions: string[]])[] = [
  ['llama-bpe', words('\\p{L}', '\\p{L}\\p{N}', '\\p{N}{1,3}')],
  ['qwen2', words('\\p{L}', '\\p{L}\\p{N}', '\\p{N}')],
  ['qwen35', words('[\\p{L}\\p{M}]', '\\p{L}\\p{M}\\p{N}', '\\p{N}')],
  ['gpt-4o', cased(`(?i:${contractions})?`, '\\p{N}{1,3}')],
  ['tekken', cased('', '\\p{N}')],
  [
    'deepseek-v3',
    '\\p{N}{1,3}',
    '[一-龥\u3040-ゟ゠-ヿ]+',
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|' +
      rest,
  ],
];

interface Step {
  readonly type?: string;
  readonly pretokenizers?: readonly Step[];
  readonly pattern?: { readonly Regex?: string };
  readonly individual_digits?: boolean;
  readonly use_regex?: boolean;
}

/** Steps in order, with sequences expanded. */
const steps = (step: Step | undefined): readonly Step[] =>
  step?.type === 'Sequence' ? (step.pretokenizers ?? []).flatMap(steps) : step ? [step] : [];

/**
 * llama.cpp's name for the `pre_tokenizer` of a byte-level tokenizer, or undefined for an unknown one: a wrong name
 * would silently give other tokens.
 */
export function preTokenizerName(preTokenizer: unknown): string | undefined {
  const all = steps((preTokenizer ?? undefined) as Step | undefined);
  const byteLevel = all.find(({ type }) => type === 'ByteLevel');
  if (!byteLevel) return undefined;
  const splits = all.flatMap(({ type, pattern }) => (type === 'Split' ? [pattern?.Regex ?? ''] : []));
  const digits = all.some(({ type, individual_digits }) => type === 'Digits' && individual_digits === true);
  const other = all.some(({ type }) => type !== 'Split' && type !== 'Digits' && type !== 'ByteLevel');
  if (other) return undefined;
  if (splits.length === 0 && byteLevel.use_regex !== false) return digits ? 'smollm' : 'gpt-2';
  if (digits || byteLevel.use_regex === true) return undefined;
  // Groups and `\r\n` have several spellings with the same meaning.
  const plain = (expression: string) => expression.replaceAll('\r', '\\r').replaceAll('\n', '\\n');
  return byExpressions.find(
    ([, ...expressions]) =>
      expressions.length === splits.length && expressions.every((each, i) => plain(each) === plain(splits[i])),
  )?.[0];
}

/** Names for which whole words of the vocabulary skip the merges (`ignore_merges`). */
export const ignoresMerges: ReadonlySet<string> = new Set(['llama-bpe', 'tekken']);

/** Other names in llama.cpp's files for a way to split text. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  'llama-bpe': ['llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'lfm2', 'smaug-bpe', 'dbrx'],
  qwen2: ['stablelm2', 'deepseek-r1-qwen', 'megrez', 'hunyuan'],
  'gpt-2': [
    'default',
    'phi-2',
    'olmo',
    'mpt',
    'jina-es',
    'jina-de',
    'jina-v2-es',
    'jina-v2-de',
    'roberta-bpe',
    'trillion',
    'mellum',
  ],
  smollm: ['starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'],
};

/** Names whose models compose characters first; llama.cpp takes text as it is. */
const composes: ReadonlySet<string> = new Set(['qwen2', 'qwen35', 'megrez', 'deepseek-r1-qwen']);

/**
 * `pre_tokenizer` and `normalizer` of a tokenizer.json for llama.cpp's name.
 * @param file that has the name, for messages
 * @throws SchemeError for an unknown name: another way to split would silently give other tokens
 */
export function preTokenizerJson(
  file: string,
  name: string,
): { readonly preTokenizer: object; readonly normalizer: object | null } {
  const own = Object.keys(aliases).find((each) => aliases[each].includes(name)) ?? name;
  const normalizer = composes.has(name) ? { type: 'NFC' } : null;
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  if (own === 'gpt-2') return { normalizer, preTokenizer: byteLevel };
  const sequence = (steps: readonly object[]) => ({
    normalizer,
    preTokenizer: { type: 'Sequence', pretokenizers: steps },
  });
  if (own === 'smollm') return sequence([{ type: 'Digits', individual_digits: true }, byteLevel]);
  const found = byExpressions.find(([each]) => each === own);
  if (!found) {
    const known = [...byExpressions.map(([each]) => each), ...Object.keys(aliases), ...Object.values(aliases).flat()];
    throw new SchemeError(
      `${file}: tokenizer.ggml.pre is ${JSON.stringify(name)}: ${[...new Set(known)].sort().join(', ')} can be read`,
    );
  }
  const [, ...expressions] = found;
  return sequence([
    ...expressions.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
    { ...byteLevel, use_regex: false },
  ]);
}
