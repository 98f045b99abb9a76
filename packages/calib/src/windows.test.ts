import { createRandom } from '@q/core';
import { describe, expect, it } from 'vitest';
import { jsonlDocuments, splitDocuments } from './documents.js';
import { collectTokens, tokenStream } from './token-stream.js';
import { checkVocabulary, cutWindows, readU16Windows, readU32Windows, shardWindows, type Windows } from './windows.js';

describe('documents', () => {
  it('are split at separator lines, trimmed, and empty ones dropped', () => {
    expect(splitDocuments('<|endoftext|>\n a\nb \n<|endoftext|>\r\n\n  <|endoftext|>  \nc <|endoftext|> d')).toEqual([
      'a\nb',
      'c <|endoftext|> d',
    ]);
    expect(splitDocuments(' \n')).toEqual([]);
  });

  it('come from JSON Lines, and the line that is wrong is named', () => {
    expect(jsonlDocuments('{"text":" a "}\n\n{"text":"b","x":1}')).toEqual(['a', 'b']);
    expect(() => jsonlDocuments('{"text":"a"}\n{', 'text', 'f.jsonl')).toThrow('f.jsonl, line 2: is not JSON');
    expect(() => jsonlDocuments('{"body":"a"}', 'text', 'f.jsonl')).toThrow('f.jsonl, line 1: has no string "text"');
  });
});

describe('tokens', () => {
  const letters = { encode: (text: string) => [...text].map((letter) => letter.charCodeAt(0)) };

  it('begin each document with BOS if there is one', () => {
    expect([...tokenStream(['ab', 'c'], { ...letters, opening: [0] })]).toEqual([0, 97, 98, 0, 99]);
    expect([...tokenStream(['ab', 'c'], letters)]).toEqual([97, 98, 99]);
    expect([...tokenStream(['abcde', 'fg'], { ...letters, opening: [0] }, { window: 3 })]).toEqual([
      ...[0, 97, 98],
      ...[0, 99, 100],
      ...[0, 101, 0],
      ...[0, 102, 103],
    ]);
    expect([...tokenStream(['abcd', 'fg'], { ...letters, opening: [0] }, { window: 3 })]).toEqual([
      ...[0, 97, 98],
      ...[0, 99, 100],
      ...[0, 102, 103],
    ]);
    expect([...tokenStream(['ab', 'c'], letters, { limit: 2 })]).toEqual([97, 98]);
  });

  it('come from arrays and async iterables', async () => {
    async function* parts() {
      yield [1, 2];
      yield Int32Array.of(3);
    }
    expect([...(await collectTokens(parts()))]).toEqual([1, 2, 3]);
    expect([...(await collectTokens([[4], [5]]))]).toEqual([4, 5]);
  });
});

describe('windows', () => {
  const stream = Int32Array.from({ length: 23 }, (_, i) => i);

  it('are cut back to back from the start', () => {
    expect(cutWindows(stream, 5)).toEqual({ ids: stream.slice(0, 20), count: 4, length: 5 });
    expect([...cutWindows(stream, 5, { count: 2, skip: 1 }).ids]).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  });

  it('are drawn without repetition when shuffled, the same for a seed', () => {
    const draw = () => cutWindows(stream, 5, { count: 4, shuffle: createRandom(3) });
    const starts = [0, 1, 2, 3].map((i) => draw().ids[5 * i]);
    expect([...starts].sort((a, b) => a - b)).toEqual([0, 5, 10, 15]);
    expect(draw()).toEqual(draw());
  });

  it('say how many tokens there are and how many are needed', () => {
    expect(() => cutWindows(stream, 5, { count: 5, name: 'c.txt' })).toThrow(
      'c.txt is too short: it has 23 tokens, 25 are needed for 5 windows of 5',
    );
    expect(() => cutWindows(new Int32Array(0), 5)).toThrow('it has 0 tokens, 5 are needed');
    expect(() => cutWindows(stream, 1)).toThrow('length of at least 2');
  });

  it('come from 16-bit files, which must be whole windows', () => {
    expect(readU16Windows(Uint8Array.of(1, 0, 0, 2), 2)).toEqual({ ids: Int32Array.of(1, 512), count: 1, length: 2 });
    expect(() => readU16Windows(new Uint8Array(6), 2, 'x.u16')).toThrow('x.u16 has 6 bytes');
  });

  it('reads files of 32-bit ids', () => {
    const bytes = Uint8Array.of(1, 0, 0, 0, 0, 0, 3, 0);
    expect(readU32Windows(bytes, 2)).toEqual({ ids: Int32Array.of(1, 196_608), count: 1, length: 2 });
    expect(() => readU32Windows(new Uint8Array(12), 2, 'x.u32')).toThrow('not whole windows of 2 32-bit ids');
    const large = readU32Windows(Uint8Array.of(0, 0, 0, 128, 1, 0, 0, 0), 2);
    expect(() => checkVocabulary(large, 262_144)).toThrow('outside of the model');
  });

  it('must lie in the vocabulary', () => {
    const windows = cutWindows(Int32Array.of(1, 2, 3, 99), 2);
    expect(() => checkVocabulary(windows, 50)).toThrow('token id 99 at window 1, position 1');
    expect(() => checkVocabulary(windows, 100)).not.toThrow();
  });
});

describe('shards', () => {
  const shape = (windows: Windows, shards: number) =>
    shardWindows(windows, shards).map(({ first, start, windows: { count, ids, lengths } }) => {
      return [first, start, count, ids.length, ...(lengths ?? [])];
    });

  it('are consecutive windows, about equally many tokens each', () => {
    const windows = cutWindows(
      Int32Array.from({ length: 70 }, (_, i) => i),
      7,
    );
    expect(shardWindows(windows, 1)).toEqual([{ windows, first: 0, start: 0 }]);
    expect(shape(windows, 3)).toEqual([
      [0, 0, 4, 28],
      [4, 28, 3, 21],
      [7, 49, 3, 21],
    ]);
    expect(shape(windows, 10).map(([, , count]) => count)).toEqual(new Array(10).fill(1));
    expect(shardWindows(windows, 3).flatMap(({ windows: { ids } }) => [...ids])).toEqual([...windows.ids]);
  });

  it('of sequences keep their lengths, and one is empty next to a long one', () => {
    const windows = { ids: new Int32Array(14), count: 4, length: 8, lengths: Int32Array.of(8, 3, 2, 1) };
    expect(shape(windows, 2)).toEqual([
      [0, 0, 1, 8, 8],
      [1, 8, 3, 6, 3, 2, 1],
    ]);
    expect(shape(windows, 3)).toEqual([
      [0, 0, 1, 8, 8],
      [1, 8, 1, 3, 3],
      [2, 11, 2, 3, 2, 1],
    ]);
    expect(shape(windows, 4)[1]).toEqual([1, 8, 0, 0]);
  });
});
