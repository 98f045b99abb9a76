import { FormatError } from '@q/core';

/** A SentencePiece BPE vocabulary: pieces, with a space for SentencePiece's U+2581, and their scores. */
export interface ScoredPieces {
  readonly pieces: readonly string[];
  readonly scores: readonly number[];
}

const [unknown, begin, end] = ['<unk>', '<s>', '</s>'] as const;
const firstBytePiece = 3;
const bytePieces = 256;

/**
 * Reads llama2.c's `tokenizer.bin`: the longest piece's length (i32), then for each piece score (f32), length (i32),
 * bytes.
 * @throws FormatError when it ends inside a piece, or holds fewer or more pieces than the vocabulary
 */
export function readLlama2cTokenizer(bytes: Uint8Array, vocabulary: number): ScoredPieces {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const pieces: string[] = [];
  const scores: number[] = [];
  let offset = 4;
  while (offset < bytes.byteLength) {
    const length = offset + 8 <= bytes.byteLength ? view.getInt32(offset + 4, true) : -1;
    if (length < 0 || offset + 8 + length > bytes.byteLength) {
      throw new FormatError(`the tokenizer ends inside piece ${pieces.length}, which starts at byte ${offset}`);
    }
    scores.push(view.getFloat32(offset, true));
    pieces.push(decoder.decode(bytes.subarray(offset + 8, offset + 8 + length)));
    offset += 8 + length;
  }
  if (pieces.length !== vocabulary) {
    throw new FormatError(`the tokenizer has ${pieces.length} pieces; the model's vocabulary is ${vocabulary}`);
  }
  return { pieces, scores };
}

/**
 * Makes `tokenizer.json` of a SentencePiece BPE vocabulary. SentencePiece merges the adjacent pair whose merged piece
 * has the highest score. The ranked pairs are every split of every piece into two pieces, in the order of the whole
 * piece's score.
 */
export function toTokenizerJson({ pieces, scores }: ScoredPieces): object {
  const marked = pieces.map((piece) => piece.replaceAll(' ', '\u2581'));
  // llama2.c writes line breaks before and after the control pieces.
  marked.splice(0, firstBytePiece, unknown, begin, end);
  const ids = new Map(marked.map((piece, id) => [piece, id]));
  const merges = marked
    .map((piece, id) => ({ characters: [...piece], id }))
    .filter(({ id }) => id >= firstBytePiece + bytePieces)
    .sort((a, b) => scores[b.id]! - scores[a.id]!)
    .flatMap(({ characters }) =>
      characters
        .slice(1)
        .map((_, i): [string, string] => [characters.slice(0, i + 1).join(''), characters.slice(i + 1).join('')]),
    )
    .filter(([left, right]) => ids.has(left) && ids.has(right));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [unknown, begin, end].map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '\u2581' },
        { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: begin, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: begin, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: begin, type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [begin]: { id: begin, ids: [1], tokens: [begin] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: unknown,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(ids),
      merges,
    },
  };
}
