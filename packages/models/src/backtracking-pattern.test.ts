import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { backtracksTooMuch } from './backtracking-pattern.js';
import { checkTokenizerFiles } from './tokenizer-schema.js';

it.each(['(.*.*)*X', '(a+)+$', '(?i:(a|aa)+)b', '([a-zA-Z]+)*!', '(x+x+)+y', '(\\s*)*z', '.*.*.*=.*'])(
  'finds that %s takes exponential or cubic time',
  (pattern) => {
    const started = performance.now();
    expect(backtracksTooMuch(pattern)).toBe(true);
    expect(performance.now() - started).toBeLessThan(20_000);
  },
);

/** Expressions of GPT-2, Llama 3, Qwen 2, GPT-4o, DeepSeek, StarCoder, CLIP. */
it.each([
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  '[\\r\\n]|\\s?\\p{L}+|\\s?\\p{P}+|[一-龥ࠀ-一가-퟿]+|\\p{N}',
  "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
  '.*X',
])('lets %s be', (pattern) => {
  expect(backtracksTooMuch(pattern)).toBe(false);
});

it('is asked before a tokenizer is used, wherever the expression stands', () => {
  const file = new URL('../../cli/demo/model/tokenizer.json', import.meta.url);
  const tokenizer = JSON.parse(readFileSync(file, 'utf8'));
  const split = { type: 'Split', pattern: { Regex: '(.*.*)*X' }, behavior: 'Isolated', invert: false };
  const sequence = { type: 'Sequence', pretokenizers: [tokenizer.pre_tokenizer, split] };
  expect(() => checkTokenizerFiles({ ...tokenizer, pre_tokenizer: sequence }, {})).toThrow(
    'tokenizer.json: pre_tokenizer.pretokenizers.1.pattern.Regex: the expression "(.*.*)*X" takes',
  );
  const replace = { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' };
  expect(() => checkTokenizerFiles({ ...tokenizer, normalizer: replace }, {})).toThrow('normalizer.pattern.Regex');
});
