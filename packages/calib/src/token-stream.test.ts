import { loadTokenizer } from '@q/models';
import { describe, expect, it } from 'vitest';
import { readTokenStream, type TextEncoderLike, tokenStream } from './token-stream.js';

/**
 * A tokenizer that does not split into words: blanks become marks, and one stands before the text (as in Llama 2). Its merges join
 * letters within a word alone.
 */
const pieces = ['▁', 'a', 'b', 'c', '▁a', 'bc', '▁abc', 'x'];
const marked = loadTokenizer({
  tokenizer: {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    added_tokens: [],
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: ['▁ a', 'b c', '▁a bc'],
      unk_token: 'x',
    },
  },
  config: {},
});
const words = (count: number) =>
  Array.from({ length: count }, (_, i) => ['abc', 'a', 'cab', 'bc'][(i * i) % 4]).join(' ');

describe('tokenStream', () => {
  it('gives a long text in one line the ids that it has as a whole', () => {
    const text = words(6000);
    expect([...tokenStream([text], marked)]).toEqual(marked.encode(text));
  });

  it('gives characters of two words and texts without a blank their ids', () => {
    const points: TextEncoderLike = { encode: (text) => [...text].map((point) => point.codePointAt(0) as number) };
    const text = '😀'.repeat(9001);
    expect([...tokenStream([text], points)]).toEqual(points.encode(text));
  });

  it('tokenizes no more of a document than the limit needs', async () => {
    let characters = 0;
    const counting: TextEncoderLike = {
      encode(text) {
        characters += text.length;
        return marked.encode(text);
      },
    };
    const text = words(100_000);
    expect([...tokenStream([text], counting, { limit: 256 })]).toEqual(
      marked.encode(text.slice(0, 4096)).slice(0, 256),
    );
    expect(characters).toBeLessThan(10_000);
    characters = 0;
    expect((await readTokenStream([text], counting, { limit: 256 })).length).toBe(256);
    expect(characters).toBeLessThan(10_000);
  });

  it('says how far it is, and stops when it is told to', async () => {
    const stop = new AbortController();
    const events: unknown[] = [];
    const slow: TextEncoderLike = {
      encode(text) {
        const until = performance.now() + 300;
        while (performance.now() < until);
        return [text.length];
      },
    };
    const progress = (event: unknown) => {
      events.push(event);
      stop.abort(new Error('stopped'));
    };
    await expect(readTokenStream([words(50_000)], slow, { progress, signal: stop.signal })).rejects.toThrow('stopped');
    expect(events[0]).toMatchObject({ task: 'tokenize', unit: 'characters' });
  });
});
