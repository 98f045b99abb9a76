/**
 * Trains a byte-level byte-pair encoding (Sennrich et al. 2016, on bytes as GPT-2 does) and writes it as
 * tokenizer.json.
 */

/**
 * GPT-2's mapping of bytes to printable characters: printable bytes map to themselves, the others follow from U+0100
 * on.
 */
function byteAlphabet(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

/** The words of GPT-2's pre-tokenizer: contractions, letters, digits, other signs, each with the space before it. */
const wordPattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** @param size of the vocabulary, with the special token and the bytes that occur */
export function trainTokenizer(text: string, size: number, specialToken: string): Record<string, unknown> {
  const alphabet = byteAlphabet();
  const counts = new Map<string, number>();
  for (const [word] of text.matchAll(wordPattern)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const words = [...counts].map(([word, count]) => ({
    count,
    symbols: [...new TextEncoder().encode(word)].map((byte) => alphabet[byte]),
  }));
  const vocabulary = new Map<string, number>([[specialToken, 0]]);
  // All 256 bytes are in the vocabulary, so any text can be encoded.
  for (const symbol of [...alphabet].sort()) vocabulary.set(symbol, vocabulary.size);
  const merges: [string, string][] = [];
  while (vocabulary.size < size) {
    const pairs = new Map<string, number>();
    for (const { symbols, count } of words) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const pair = `${symbols[i]} ${symbols[i + 1]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + count);
      }
    }
    // The most frequent pair is merged. Of equal ones the first in code point order is, so training is deterministic.
    let best: string | undefined;
    for (const [pair, count] of pairs) {
      const bestCount = best === undefined ? 1 : (pairs.get(best) as number);
      if (count > bestCount || (count === bestCount && best !== undefined && pair < best)) best = pair;
    }
    if (best === undefined) break;
    const [left, right] = best.split(' ');
    merges.push([left, right]);
    vocabulary.set(left + right, vocabulary.size);
    for (const word of words) word.symbols = merge(word.symbols, left, right);
  }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: 0,
        content: specialToken,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    // The model is trained with this token before each document, so the tokenizer adds it. Programs that read text
    // follow the tokenizer.
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: specialToken, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: specialToken, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: specialToken, type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [specialToken]: { id: specialToken, ids: [0], tokens: [specialToken] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary),
      merges,
    },
  };
}

function merge(symbols: string[], left: string, right: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) {
      out.push(left + right);
      i++;
    } else out.push(symbols[i]);
  }
  return out;
}
