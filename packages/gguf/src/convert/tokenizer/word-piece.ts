import { bool } from '../values.js';
import { type TokenizerModel, vocabularyKeys } from './tokenizer-model.js';
import { buildVocabulary, tokenKinds, wordStart } from './vocabulary.js';

/**
 * WordPiece. llama.cpp marks the first piece of a word, while the vocabulary marks the later ones: `##ing` becomes
 * `ing`, and `run` becomes `run` with a word start before it. With the vocabulary's own spelling every word would be
 * unknown.
 */
export const wordPieceModel: TokenizerModel = {
  accepts: ({ model }) => model.type === 'WordPiece',
  metadata({ name, json, model, added, size, preTokenizer }) {
    const prefix = typeof model.continuing_subword_prefix === 'string' ? model.continuing_subword_prefix : '##';
    const vocab = Object.entries((model.vocab ?? {}) as Readonly<Record<string, number>>);
    const { tokens, kinds } = buildVocabulary(name, vocab, added, size);
    const marked = tokens.map((token, id) => {
      if (kinds[id] === tokenKinds.control) return token;
      return token.startsWith(prefix) ? token.slice(prefix.length) : wordStart + token;
    });
    const lowercase = (json.normalizer as { lowercase?: unknown } | null | undefined)?.lowercase !== false;
    return vocabularyKeys('bert', preTokenizer ?? 'default', marked, kinds).set(
      'tokenizer.ggml.normalizer.lowercase',
      bool(lowercase),
    );
  },
};
