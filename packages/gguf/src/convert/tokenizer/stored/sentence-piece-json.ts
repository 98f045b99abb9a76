import { tokenKinds, wordStart } from '../vocabulary.js';
import { type StoredModel, vocabularyOf } from './stored-model.js';
import type { StoredTokenizer } from './stored-tokenizer.js';

/** Runs of spaces are tokens of the text with replaced spaces. */
const spelling = (token: string, kind: number): string =>
  kind === tokenKinds.userDefined && /^ +$/.test(token) ? wordStart.repeat(token.length) : token;

const replaceSpaces = { type: 'Replace', pattern: { String: ' ' }, content: wordStart };
const replaceStarts = { type: 'Replace', pattern: { String: wordStart }, content: ' ' };

/** SentencePiece's byte pairs: the neighbours whose token has the highest score are joined first. */
export const storedSentencePiece: StoredModel = {
  name: 'llama',
  spelling,
  json(stored) {
    const prefixed = stored.flag('add_space_prefix', true);
    const prepend = { type: 'Prepend', prepend: wordStart };
    const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
    return {
      normalizer: prefixed ? { type: 'Sequence', normalizers: [prepend, replaceSpaces] } : replaceSpaces,
      pre_tokenizer: null,
      decoder: {
        type: 'Sequence',
        decoders: [replaceStarts, { type: 'ByteFallback' }, { type: 'Fuse' }, ...(prefixed ? [strip] : [])],
      },
      model: {
        ...{ type: 'BPE', dropout: null, unk_token: unknownToken(stored) ?? null, continuing_subword_prefix: null },
        ...{ end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false },
        vocab: vocabularyOf(stored, spelling),
        merges: mergesByScore(stored),
      },
    };
  },
  addsBos: () => true,
};

function unknownToken(stored: StoredTokenizer): string | undefined {
  const marked = stored.kinds.indexOf(tokenKinds.unknown);
  const id = marked < 0 ? stored.id('unknown') : marked;
  return id === undefined ? undefined : stored.tokens[id];
}

/**
 * All pairs of tokens that make a token, by its score, the highest first. Of the pairs of one token the one with the
 * longest first part comes first, as when transformers converts such a model.
 */
function mergesByScore(stored: StoredTokenizer): readonly (readonly [string, string])[] {
  const { kinds, scores } = stored;
  const tokens = stored.tokens.map((token, id) => spelling(token, kinds[id]));
  const mergeable = (kind: number) => kind === tokenKinds.normal || kind === tokenKinds.userDefined;
  const known = new Set(tokens.filter((_, id) => mergeable(kinds[id])));
  // llama.cpp looks for user-defined tokens before it joins any others, whatever their scores (Gemma's runs of spaces:
  // -1000).
  const rank = (id: number) => (kinds[id] === tokenKinds.userDefined ? 0 : 1);
  const order = [...tokens.keys()]
    .filter((id) => mergeable(kinds[id]))
    .sort((a, b) => rank(a) - rank(b) || rank(a) * (scores[b] - scores[a]) || a - b);
  const merges: [string, string][] = [];
  for (const id of order) {
    const token = tokens[id];
    for (let at = token.length - 1; at > 0; at--) {
      const left = token.slice(0, at);
      if (!known.has(left)) continue;
      const right = token.slice(at);
      if (known.has(right)) merges.push([left, right]);
    }
  }
  return merges;
}

/** SentencePiece's unigram model: the split of a text with the greatest sum of scores. */
export const storedUnigram: StoredModel = {
  name: 't5',
  json(stored) {
    const unknown = stored.id('unknown') ?? stored.kinds.indexOf(tokenKinds.unknown);
    const map = stored.bytes('precompiled_charsmap');
    const prefixed = stored.flag('add_space_prefix', true);
    const metaspace = {
      type: 'Metaspace',
      replacement: wordStart,
      prepend_scheme: prefixed ? 'always' : 'never',
      split: true,
    };
    const squeeze = { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' };
    const normalizers = [
      ...(map ? [{ type: 'Precompiled', precompiled_charsmap: Buffer.from(map).toString('base64') }] : []),
      ...(stored.flag('remove_extra_whitespaces', false) ? [squeeze] : []),
    ];
    const { scores } = stored;
    return {
      normalizer: normalizers.length > 0 ? { type: 'Sequence', normalizers } : null,
      pre_tokenizer: metaspace,
      decoder: metaspace,
      model: {
        ...{ type: 'Unigram', unk_id: unknown < 0 ? null : unknown, byte_fallback: false },
        vocab: stored.tokens.map((token, id) => [token, scores[id]]),
      },
    };
  },
};
