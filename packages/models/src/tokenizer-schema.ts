import { FormatError } from '@q/core';
import { z } from 'zod';
import { backtracksTooMuch } from './backtracking-pattern.js';

const id = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);
const flag = z.boolean().nullish();
const text = z.string().nullish();

const pattern = z.union([z.string(), z.strictObject({ String: z.string() }), z.strictObject({ Regex: z.string() })]);

/** A normalizer, pre-tokenizer, post-processor or decoder. The library knows which types exist. */
const component: z.ZodType = z.lazy(() =>
  z
    .looseObject({
      type: z.string(),
      normalizers: z.array(component).optional(),
      pretokenizers: z.array(component).optional(),
      processors: z.array(component).optional(),
      decoders: z.array(component).optional(),
      pattern: pattern.optional(),
      content: text,
      replacement: text,
      prepend: text,
      prepend_scheme: text,
      behavior: text,
      prefix: text,
      suffix: text,
      start: z.int().min(0).optional(),
      stop: z.int().min(0).optional(),
      length: z.int().min(1).optional(),
      single: z.array(z.looseObject({})).optional(),
      pair: z.array(z.looseObject({})).nullish(),
      special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(id) })).optional(),
      cls: z.tuple([z.string(), id]).optional(),
      sep: z.tuple([z.string(), id]).optional(),
    })
    .superRefine((value, context) => {
      if (typeof value.pattern !== 'object' || !('Regex' in value.pattern)) return;
      const { Regex } = value.pattern;
      if (backtracksTooMuch(Regex))
        context.addIssue({
          code: 'custom',
          path: ['pattern', 'Regex'],
          message: `the expression ${JSON.stringify(Regex)} takes exponential time for some short texts: get the tokenizer from its source again`,
        });
    }),
);

/** Our own loop: vocabularies have hundreds of thousands of entries. */
const idsByToken = z.custom<Record<string, number>>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((each) => Number.isInteger(each) && each >= 0 && each < 2 ** 31),
  'an object of tokens and their ids, whole numbers of at least 0, was expected',
);
const scoredTokens = z.custom<[string, number][]>(
  (value) =>
    Array.isArray(value) &&
    value.every(
      (each) => Array.isArray(each) && each.length === 2 && typeof each[0] === 'string' && Number.isFinite(each[1]),
    ),
  'a list of tokens and their scores was expected',
);
const merges = z.custom<(string | [string, string])[]>(
  (value) =>
    Array.isArray(value) &&
    value.every(
      (each) =>
        (typeof each === 'string' && each.includes(' ')) ||
        (Array.isArray(each) && each.length === 2 && each.every((part) => typeof part === 'string')),
    ),
  'a list of pairs, each two strings or one with a blank between them, was expected',
);

const model = z.looseObject({
  type: text,
  vocab: z.union([idsByToken, scoredTokens]),
  merges: merges.optional(),
  unk_token: text,
  unk_id: id.nullish(),
  continuing_subword_prefix: text,
  end_of_word_suffix: text,
  max_input_chars_per_word: z.int().min(0).optional(),
  byte_fallback: flag,
  fuse_unk: flag,
  ignore_merges: flag,
});

const tokenizerFile = z.looseObject({
  added_tokens: z
    .array(
      z.looseObject({
        id,
        content: z.string().min(1),
        ...{ single_word: flag, lstrip: flag, rstrip: flag, normalized: flag, special: flag },
      }),
    )
    .nullish(),
  normalizer: component.nullish(),
  pre_tokenizer: component.nullish(),
  post_processor: component.nullish(),
  decoder: component.nullish(),
  model: model.superRefine((value, context) => {
    const scored = Array.isArray(value.vocab);
    if (scored !== (value.type === 'Unigram') && typeof value.type === 'string')
      context.addIssue({ code: 'custom', path: ['vocab'], message: `is not that of a ${value.type} model` });
    if (value.type === 'BPE' && !value.merges)
      context.addIssue({ code: 'custom', path: ['merges'], message: 'a BPE model has merges' });
    if (scored && (value.unk_id ?? 0) >= (value.vocab as unknown[]).length)
      context.addIssue({ code: 'custom', path: ['unk_id'], message: 'is not in the vocabulary' });
  }),
});

/** A token of tokenizer_config.json: its text, or an object with its text. */
const namedToken = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const configFile = z.looseObject({ bos_token: namedToken, eos_token: namedToken, unk_token: namedToken });

/**
 * Checks `tokenizer.json` and `tokenizer_config.json` before they are used: otherwise a wrong type inside would be
 * found late, or never.
 * @throws FormatError naming the file, the key, and what was expected
 */
export function checkTokenizerFiles(tokenizer: object, config: object): void {
  check('tokenizer.json', tokenizerFile, tokenizer);
  check('tokenizer_config.json', configFile, config);
}

function check(name: string, schema: z.ZodType, value: unknown): void {
  let result: ReturnType<typeof schema.safeParse>;
  try {
    result = schema.safeParse(value);
  } catch {
    // Components that contain components endlessly.
    throw new FormatError(`${name}: is nested too deeply`);
  }
  if (result.success) return;
  const [issue] = result.error.issues;
  throw new FormatError(`${name}: ${issue.path.length > 0 ? `${issue.path.join('.')}: ` : ''}${issue.message}`);
}
