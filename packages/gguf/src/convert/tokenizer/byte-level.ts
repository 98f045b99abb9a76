import { SchemeError } from '@q/core';
import { list } from '../values.js';
import { ignoresMerges, preTokenizerName } from './pre-tokenizer.js';
import { type TokenizerModel, vocabularyKeys } from './tokenizer-model.js';
import { buildVocabulary } from './vocabulary.js';

/** Whether text is mapped to the alphabet of bytes. */
const isByteLevel = (json: Readonly<Record<string, unknown>>): boolean =>
  JSON.stringify([json.pre_tokenizer, json.decoder]).includes('"ByteLevel"');

/** Byte pairs as in GPT-2: the alphabet of bytes, merges, and a way to split text that llama.cpp has a name for. */
export const byteLevelModel: TokenizerModel = {
  accepts: ({ model, json }) => model.type === 'BPE' && isByteLevel(json),
  metadata({ name, json, model, added, size, preTokenizer }) {
    const pre = preTokenizer ?? preTokenizerName(json.pre_tokenizer);
    if (pre === undefined)
      throw new SchemeError(
        `${name}: how it cuts text (${JSON.stringify(json.pre_tokenizer)}) has no name in llama.cpp that is known here: ` +
          'give the name with --pre-tokenizer',
      );
    if (model.ignore_merges === true && preTokenizer === undefined && !ignoresMerges.has(pre))
      throw new SchemeError(
        `${name}: it takes whole words before merges (ignore_merges), which llama.cpp does not for ${pre}: ` +
          'give the name of the pre-tokenizer with --pre-tokenizer',
      );
    const vocab = Object.entries((model.vocab ?? {}) as Readonly<Record<string, number>>);
    const { tokens, kinds } = buildVocabulary(name, vocab, added, size);
    return vocabularyKeys('gpt2', pre, tokens, kinds).set(
      'tokenizer.ggml.merges',
      list('string', mergesOf(model.merges)),
    );
  },
};

/** Each pair as one text; a space inside a part is written in the byte alphabet. */
function mergesOf(merges: unknown): readonly string[] {
  if (!Array.isArray(merges)) return [];
  return merges.map((merge) =>
    Array.isArray(merge) ? merge.map((part: string) => part.replaceAll(' ', '\u0120')).join(' ') : String(merge),
  );
}
