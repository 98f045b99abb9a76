import { describe, expect, it } from 'vitest';
import { textLines, textSequences } from './sequences.js';
import { checkVocabulary, windowBatches } from './windows.js';

const letters = {
  encode: (text: string) => [...text].map((letter) => letter.charCodeAt(0)),
  opening: [1],
  closing: [2],
};

describe('textSequences', () => {
  it('frames every text, cuts it, and sorts from the longest, texts of one length in their order', () => {
    const found = textSequences(['a', 'bcdefg', 'hi', 'j'], letters, 6);
    expect([...found.lengths]).toEqual([6, 4, 3, 3]);
    expect([...found.order]).toEqual([1, 2, 0, 3]);
    expect([...found.ids]).toEqual([1, 98, 99, 100, 101, 2, 1, 104, 105, 2, 1, 97, 2, 1, 106, 2]);
    expect([found.count, found.length]).toEqual([4, 6]);
  });

  it('batches sequences of one length, with as many tokens as full ones have', () => {
    const found = textSequences(['abcd', 'e', 'f', 'g', 'h', 'i'], letters, 6);
    const batches = windowBatches(found, 2);
    expect(batches.map(({ first, start, count, length }) => [first, start, count, length])).toEqual([
      [0, 0, 1, 6],
      [1, 6, 4, 3],
      [5, 18, 1, 3],
    ]);
    expect([...batches[2].ids]).toEqual([1, 105, 2]);
    expect(() => checkVocabulary(found, 105)).toThrow('token id 105 at window 5, position 1');
  });

  it('refuses what leaves no room for text, and no text', () => {
    expect(() => textSequences(['a'], letters, 2)).toThrow('hold none of the text');
    expect(() => textSequences([], letters, 8)).toThrow('has no text');
    expect(() => textSequences([''], { encode: () => [] }, 8)).toThrow('text 1 has no token');
  });

  it('takes the lines that have something on them', () => {
    expect(textLines(['one\n\n  two ', 'three'])).toEqual(['one', 'two', 'three']);
  });
});
