import { FormatError, SchemeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import type { GgufValue } from '../../../metadata.js';
import { list, text } from '../../values.js';
import { storedTokenizer } from './tokenizer-json.js';

const pieces = (own: readonly (readonly [string, GgufValue])[] = []) =>
  new Map<string, GgufValue>([
    ['tokenizer.ggml.model', text('llama')],
    ['tokenizer.ggml.tokens', list('string', ['<unk>', '<s>', '\u2581', 'a', 'b', '\u2581a', 'ab', '  '])],
    ['tokenizer.ggml.token_type', list('i32', [2, 3, 1, 1, 1, 1, 1, 4])],
    ['tokenizer.ggml.scores', list('f32', [0, 0, -5, -6, -7, -2, -1, -1000])],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 1 }],
    ...own,
  ]);

function mergesOf(metadata: ReadonlyMap<string, GgufValue>): unknown {
  const { tokenizer = {} } = storedTokenizer('a file', metadata);
  return (tokenizer['model'] as { merges: unknown }).merges;
}

describe('storedTokenizer', () => {
  it('joins runs of spaces first, whatever their score, then pairs by the score of what they make', () => {
    expect(mergesOf(pieces())).toEqual([
      ['\u2581', '\u2581'],
      ['a', 'b'],
      ['\u2581', 'a'],
    ]);
  });

  it.each([
    ['another kind', [['tokenizer.ggml.model', text('rwkv')]], SchemeError, /rwkv.*gpt2, llama, t5, bert can be read/],
    ['fewer scores than tokens', [['tokenizer.ggml.scores', list('f32', [1])]], FormatError, /1 elements.*8 tokens/],
    ['an id without a token', [['tokenizer.ggml.eos_token_id', { type: 'u32', value: 99 }]], FormatError, /99/],
  ] as const)('refuses %s', (_, own, kind, message) => {
    const read = () => storedTokenizer('a file', pieces(own as unknown as readonly [string, GgufValue][]));
    expect(read).toThrow(kind);
    expect(read).toThrow(message);
  });
});
