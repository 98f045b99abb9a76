import { tokenKinds, wordStart } from '../vocabulary.js';
import { type StoredModel, vocabularyOf } from './stored-model.js';

const continuing = '##';

/** The file marks the first piece of a word, a tokenizer.json the later ones. */
function spelling(token: string, kind: number): string {
  if (kind !== tokenKinds.normal || /^\[.+\]$/.test(token)) return token;
  return token.startsWith(wordStart) ? token.slice(wordStart.length) : continuing + token;
}

/** BERT's pieces of words. */
export const storedWordPiece: StoredModel = {
  name: 'bert',
  spelling,
  json(stored) {
    const lowercase = stored.flag('normalizer.lowercase', true);
    const unknown = stored.id('unknown');
    return {
      normalizer: {
        ...{ type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null },
        lowercase,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      decoder: { type: 'WordPiece', prefix: continuing, cleanup: true },
      model: {
        ...{ type: 'WordPiece', continuing_subword_prefix: continuing, max_input_chars_per_word: 100 },
        unk_token: unknown === undefined ? '[UNK]' : stored.tokens[unknown],
        vocab: vocabularyOf(stored, spelling),
      },
    };
  },
  frame: ['cls', 'seperator'],
};
