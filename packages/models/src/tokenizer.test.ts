import { FormatError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { loadTokenizer } from './tokenizer.js';

const tokenizer = {
  version: '1.0',
  added_tokens: [{ id: 0, content: '<|endoftext|>', special: true, normalized: false }],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
  post_processor: { type: 'ByteLevel', trim_offsets: false },
  decoder: { type: 'ByteLevel' },
  model: {
    type: 'BPE',
    vocab: { '<|endoftext|>': 0, a: 1, b: 2, Ġ: 3, ab: 4, '.': 5 },
    merges: [['a', 'b']],
  },
};

describe('loadTokenizer', () => {
  it('encodes without special tokens and decodes every character', () => {
    const { encode, decode } = loadTokenizer({ tokenizer, config: { bos_token: '<|endoftext|>' } });
    expect(encode('ab a .')).toEqual([4, 3, 1, 3, 5]);
    expect(decode(encode('ab a .'))).toBe('ab a .');
    expect(decode([0, 4])).toBe('<|endoftext|>ab');
  });

  it.each([
    ['a string', { bos_token: '<|endoftext|>' }, undefined, 0],
    ['an added token', { bos_token: { content: 'ab' } }, undefined, 4],
    ['null: there is none, whatever the model says', { bos_token: null }, { bos_token_id: 2 }, undefined],
    ['not mentioned: the model says', {}, { bos_token_id: 2 }, 2],
    ['not mentioned anywhere', {}, {}, undefined],
  ])('finds BOS: %s', (_, config, model, expected) => {
    expect(loadTokenizer({ tokenizer, config, model }).bosId).toBe(expected);
  });

  it.each([
    ['nothing', tokenizer, {}, [], []],
    ['nothing, though there is a BOS token', tokenizer, { bos_token: 'ab' }, [], []],
    ['BOS when add_bos_token asks for it', tokenizer, { bos_token: 'ab', add_bos_token: true }, [4], []],
    [
      'what the template of the post-processor has',
      {
        ...tokenizer,
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: 'ab' } }, { Sequence: { id: 'A' } }, { SpecialToken: { id: '.' } }],
          pair: [],
          special_tokens: {
            ab: { id: 'ab', ids: [4], tokens: ['ab'] },
            '.': { id: '.', ids: [5], tokens: ['.'] },
          },
        },
      },
      {},
      [4],
      [5],
    ],
  ])('puts around a text: %s', (_, file, config, opening, closing) => {
    const loaded = loadTokenizer({ tokenizer: file, config });
    expect([loaded.opening, loaded.closing]).toEqual([opening, closing]);
  });

  it('refuses what is not a tokenizer', () => {
    expect(() => loadTokenizer({ tokenizer: {}, config: {} })).toThrow(FormatError);
    expect(() => loadTokenizer({ tokenizer: { model: { type: 'Oracle', vocab: {} } }, config: {} })).toThrow(
      /cannot be used/,
    );
    expect(() => loadTokenizer({ tokenizer, config: { bos_token: '<s>' } })).toThrow(/"<s>" is not in the vocabulary/);
  });

  const { model } = tokenizer;
  it.each<[string, object, RegExp]>([
    ['an id that is a string', { model: { ...model, vocab: { a: '1' } } }, /model\.vocab/],
    ['an added token without an id', { added_tokens: [{ content: 'x' }] }, /added_tokens\.0\.id/],
    ['an added token of no text', { added_tokens: [{ id: 1, content: 5 }] }, /added_tokens\.0\.content/],
    ['merges that are no pairs', { model: { ...model, merges: [['a']] } }, /model\.merges: a list of pairs/],
    ['no merges', { model: { ...model, merges: undefined } }, /model\.merges: a BPE model has merges/],
    ['a normalizer that is a list', { normalizer: [] }, /normalizer/],
    ['a component without a type', { decoder: { type: 'Sequence', decoders: [{}] } }, /decoder\.decoders\.0\.type/],
    ['an unknown component', { normalizer: { type: 'Magic' } }, /cannot be used/],
    ['an expression that is none', { pre_tokenizer: { type: 'Split', pattern: { Regex: '(' } } }, /cannot be used/],
    ['scores of no numbers', { model: { type: 'Unigram', vocab: [['a', 'b']] } }, /model\.vocab/],
    ['an unknown token beyond the vocabulary', { model: { type: 'Unigram', vocab: [['a', 0]], unk_id: 7 } }, /unk_id/],
  ])('refuses %s', (_, change, message) => {
    const use = () => loadTokenizer({ tokenizer: { ...tokenizer, ...change }, config: {} }).encode('ab a');
    expect(use).toThrow(FormatError);
    expect(use).toThrow(message);
  });

  it('refuses a text that it has no id for', () => {
    const { encode } = loadTokenizer({
      tokenizer: { ...tokenizer, pre_tokenizer: null, model: { ...model, unk_token: 'absent' } },
      config: {},
    });
    expect(() => encode('a😀')).toThrow(/has no id for a part of the text/);
  });
});
