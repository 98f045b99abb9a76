/** How text is cut before byte pairs are merged. llama.cpp knows the ways by name. */

const contractions = "'s|'t|'re|'ve|'m|'ll|'d";
const rest = '\\s+(?!\\S)|\\s+';
const cased = (suffix: string, digits: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+${suffix}|` +
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*${suffix}|` +
  `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|${rest}`;
const words = (letters: string, punctuation: string, digits: string) =>
  `(?i:${contractions})|[^\\r\\n\\p{L}\\p{N}]?${letters}+|${digits}| ?[^\\s${punctuation}]+[\\r\\n]*|\\s*[\\r\\n]+|${rest}`;

/** The expressions of `Split` pre-tokenizers, one after the other, and the name that llama.cpp has for them. */
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

/** Steps in their order, sequences opened. */
const steps = (step: Step | undefined): readonly Step[] =>
  step?.type === 'Sequence' ? (step.pretokenizers ?? []).flatMap(steps) : step ? [step] : [];

/**
 * llama.cpp's name for the `pre_tokenizer` of a byte-level tokenizer, or nothing when it is none that is known here: another one
 * would give other tokens without a word.
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
  // Groups and `\r\n` are written in several ways that mean the same.
  const plain = (expression: string) => expression.replaceAll('\r', '\\r').replaceAll('\n', '\\n');
  return byExpressions.find(
    ([, ...expressions]) =>
      expressions.length === splits.length && expressions.every((each, i) => plain(each) === plain(splits[i])),
  )?.[0];
}

/** Names whose merges are left out for whole words of the vocabulary (`ignore_merges`). */
export const ignoresMerges: ReadonlySet<string> = new Set(['llama-bpe', 'tekken']);
