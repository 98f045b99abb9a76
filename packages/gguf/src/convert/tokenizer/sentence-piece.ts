import { bool, list } from '../values.js';
import { type TokenizerInput, type TokenizerModel, vocabularyKeys } from './tokenizer-model.js';
import { buildVocabulary, tokenKinds, wordStart } from './vocabulary.js';

/** Scores of tokens that never come from splitting a text. */
const [addedScore, unusedScore] = [-1000, -10000];

/**
 * SentencePiece: byte pairs over text with replaced spaces, or a unigram model. llama.cpp joins the neighbours whose
 * token has the highest score. A tokenizer.json has the order of its merges instead of scores, and `-rank` is a score
 * with the same order.
 */
export const sentencePieceModel: TokenizerModel = {
  accepts: ({ model }) => model.type === 'Unigram' || (model.type === 'BPE' && model.byte_fallback === true),
  metadata: (input) => (input.model.type === 'Unigram' ? unigram(input) : bytePairs(input)),
};

function bytePairs({ name, json, model, added, size, defaults }: TokenizerInput) {
  const vocab = model.vocab as Readonly<Record<string, number>>;
  const { tokens, kinds } = buildVocabulary(name, Object.entries(vocab), added, size);
  const scores = new Array<number>(size).fill(0);
  const ranked = new Set<string>();
  let rank = 0;
  for (const merge of (model.merges ?? []) as readonly (string | readonly string[])[]) {
    const token = typeof merge === 'string' ? merge.replace(' ', '') : merge.join('');
    rank--;
    if (ranked.has(token)) continue;
    ranked.add(token);
    if (token in vocab) scores[vocab[token]] = rank;
  }
  const unknown = typeof model.unk_token === 'string' ? vocab[model.unk_token] : undefined;
  for (let id = 0; id < size; id++) {
    if (/^<0x[0-9A-F]{2}>$/.test(tokens[id])) kinds[id] = tokenKinds.byte;
    if (id === unknown && kinds[id] === tokenKinds.normal) kinds[id] = tokenKinds.unknown;
    if (kinds[id] === tokenKinds.unused) scores[id] = unusedScore;
    if (kinds[id] === tokenKinds.control || kinds[id] === tokenKinds.userDefined) scores[id] = addedScore;
  }
  return vocabularyKeys('llama', 'default', tokens, kinds)
    .set('tokenizer.ggml.scores', list('f32', scores))
    .set('tokenizer.ggml.add_space_prefix', bool(defaults.addSpacePrefix ?? putsSpaceFirst(json)));
}

/** Whether text gets a space before its first word. */
function putsSpaceFirst(json: Readonly<Record<string, unknown>>): boolean {
  const steps = JSON.stringify([json.normalizer, json.pre_tokenizer]);
  return steps.includes(`"Prepend","prepend":"${wordStart}"`) || /"prepend_scheme":"(?:first|always)"/.test(steps);
}

function unigram({ name, json, model, added, size, defaults }: TokenizerInput) {
  const pieces = model.vocab as readonly (readonly [string, number])[];
  const { tokens, kinds } = buildVocabulary(
    name,
    pieces.map(([piece], id) => [piece, id] as const),
    added,
    size,
  );
  const scores = tokens.map((_, id) => pieces[id]?.[1] ?? (kinds[id] === tokenKinds.unused ? unusedScore : addedScore));
  if (typeof model.unk_id === 'number') kinds[model.unk_id] = tokenKinds.unknown;
  const keys = vocabularyKeys('t5', 'default', tokens, kinds)
    .set('tokenizer.ggml.scores', list('f32', scores))
    .set('tokenizer.ggml.add_space_prefix', bool(defaults.addSpacePrefix ?? true))
    .set('tokenizer.ggml.remove_extra_whitespaces', bool(true));
  const map = charsMap(json.normalizer);
  if (map) keys.set('tokenizer.ggml.precompiled_charsmap', { type: 'array', of: 'u8', value: [...map] });
  return keys;
}

interface Normalizer {
  readonly normalizers?: readonly Normalizer[];
  readonly precompiled_charsmap?: string;
}

/** The table with which SentencePiece normalizes characters. */
function charsMap(normalizer: unknown): Uint8Array | undefined {
  const { normalizers = [], precompiled_charsmap } = (normalizer ?? {}) as Normalizer;
  if (precompiled_charsmap !== undefined) return Buffer.from(precompiled_charsmap, 'base64');
  for (const each of normalizers) {
    const found = charsMap(each);
    if (found) return found;
  }
  return undefined;
}
