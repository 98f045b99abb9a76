import { ignoresMerges, preTokenizerJson } from '../pre-tokenizer.js';
import { type StoredModel, vocabularyOf } from './stored-model.js';

/** Byte pairs as in GPT-2. */
export const storedByteLevel: StoredModel = {
  name: 'gpt2',
  json(stored) {
    const pre = stored.text('ggml.pre') ?? 'default';
    const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
    return {
      normalizer: preTokenizerJson(stored.name, pre).normalizer,
      pre_tokenizer: preTokenizerJson(stored.name, pre).preTokenizer,
      decoder: { ...byteLevel, add_prefix_space: true },
      model: {
        ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '' },
        ...{ fuse_unk: false, byte_fallback: false, ignore_merges: ignoresMerges.has(pre) },
        vocab: vocabularyOf(stored),
        merges: stored.merges,
      },
    };
  },
  // Llama 3 begins with BOS if the file does not say.
  addsBos: (stored) => ignoresMerges.has(stored.text('ggml.pre') ?? ''),
};
