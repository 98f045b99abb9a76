/** Packs two vectors of codes of 4 bits into the bytes of one vector. */
// @ts-expect-error: decorator
@inline
function joinNibbles(a: v128, b: v128): v128 {
  const mask = i16x8.splat(0xff);
  const low = v128.and(v128.or(a, i16x8.shr_u(a, 4)), mask);
  const high = v128.and(v128.or(b, i16x8.shr_u(b, 4)), mask);
  return i8x16.narrow_i16x8_u(low, high);
}

/** Packs codes of 2 bits in pairs; each byte of the result has a pair as one code of 4 bits. */
// @ts-expect-error: decorator
@inline
function joinPairs(a: v128, b: v128): v128 {
  const mask = i16x8.splat(0xf);
  const low = v128.and(v128.or(a, i16x8.shr_u(a, 6)), mask);
  const high = v128.and(v128.or(b, i16x8.shr_u(b, 6)), mask);
  return i8x16.narrow_i16x8_u(low, high);
}

/** Computes four words of a row's stream. */
// @ts-expect-error: decorator
@inline
function fourWords(codes: usize, bits: usize): v128 {
  if (bits == 8) return v128.load(codes);
  if (bits == 4) return joinNibbles(v128.load(codes), v128.load(codes, 16));
  return joinNibbles(joinPairs(v128.load(codes), v128.load(codes, 16)), joinPairs(v128.load(codes, 32), v128.load(codes, 48)));
}

/** Computes word `word` of a row's stream, code by code. Codes beyond the row count as zero. */
function oneWord(row: usize, columns: usize, bits: usize, word: usize): u32 {
  let value: u64 = 0;
  // The first code may begin in the word before.
  const begin = word * 32;
  for (let j = begin / bits; j < columns && j * bits < begin + 32; j++) {
    const at = j * bits;
    const code = <u64>load<u8>(row + j);
    value |= at < begin ? code >> (begin - at) : code << (at - begin);
  }
  return <u32>value;
}

/**
 * Packs the streams of rows `16 * [first, last)` with words transposed: word i of row r goes to `words[i * rows + r]`.
 * Sixteen rows are packed at a time, because one word of each fills a cache line.
 */
export function packRowsOfWords(codes: usize, rows: usize, columns: usize, bits: usize, words: usize, first: usize, last: usize, worker: usize): void {
  const perWord = 32 / bits;
  // The number of words that are computed four at a time, because no code crosses a word there.
  const whole = bits == 2 || bits == 4 || bits == 8 ? (columns / perWord) & ~3 : 0;
  const height = (columns * bits + 31) / 32;
  const end = min(rows, last * 16);
  for (let top = first * 16; top < end; top += 16) {
    const bottom = min(end, top + 16);
    const fours = whole > 0 ? top + ((bottom - top) & ~3) : top;
    for (let i: usize = 0; i < whole; i += 4) {
      for (let r = top; r < fours; r += 4) {
        const from = codes + r * columns + i * perWord;
        const a = fourWords(from, bits), b = fourWords(from + columns, bits);
        const c = fourWords(from + 2 * columns, bits), d = fourWords(from + 3 * columns, bits);
        const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
        const to = words + (i * rows + r) * 4;
        v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
        v128.store(to + rows * 4, v128.shuffle<i64>(ab, cd, 1, 3));
        const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
        v128.store(to + rows * 8, v128.shuffle<i64>(ef, gh, 0, 2));
        v128.store(to + rows * 12, v128.shuffle<i64>(ef, gh, 1, 3));
      }
    }
    for (let r = top; r < bottom; r++) {
      for (let i = r < fours ? whole : 0; i < height; i++)
        store<u32>(words + (i * rows + r) * 4, oneWord(codes + r * columns, columns, bits, i));
    }
  }
}
