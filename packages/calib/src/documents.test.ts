import { describe, expect, it } from 'vitest';
import { readDocuments } from './documents.js';

const lines = '{"text":"a"}\n{"text":" b "}\n';

describe('readDocuments', () => {
  it.each([
    ['x.jsonl', lines],
    ['x.JSONL', lines],
    ['x.ndjson', `\uFEFF${lines}`],
    ['x.json', lines],
    ['x.json', '[{"text":"a","n":1},\n {"text":"b"}]'],
    ['x.JSON', '["a", "", "b "]'],
    ['x.txt', 'a\n<|endoftext|>\nb'],
  ])('reads the documents of %s', (name, text) => {
    expect(readDocuments(text, name)).toEqual(['a', 'b']);
  });

  it.each([
    ['x.txt', lines, /x\.txt: holds JSON Lines.*name it \.jsonl/],
    ['x', '[{"text":"a"}]', /holds JSON.*name it \.json/],
    ['x.txt', '{\n  "text": "a"\n}', /holds JSON,/],
    ['x.json', '[{"text":"a"}, 5]', /entry 1: is no string/],
    ['x.json', '{\n "a": 1\n}', /is not a JSON list of objects/],
    ['x.json', 'prose', /is not a JSON list/],
  ])('refuses what it would read wrongly: %s %j', (name, text, message) => {
    expect(() => readDocuments(text, name)).toThrow(message);
  });

  it.each(['[1] A footnote.', '{curly} words', '[Music]\nla la', '{', '[1]\n[2]'])('takes %j for prose', (text) => {
    expect(readDocuments(text, 'x.txt')).toEqual([text]);
  });
});
