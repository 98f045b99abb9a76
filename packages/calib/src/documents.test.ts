import { describe, expect, it } from 'vitest';
import { type ChatFormat, readDocuments } from './documents.js';

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
    ['x.json', '[{"text":"a"}, 5]', /entry 1: has no string "text" and no list "messages"/],
    ['x.json', '{\n "a": 1\n}', /is not a JSON list of objects/],
    ['x.json', 'prose', /is not a JSON list/],
  ])('refuses what it would read wrongly: %s %j', (name, text, message) => {
    expect(() => readDocuments(text, name)).toThrow(message);
  });

  const talk = {
    messages: [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello' },
    ],
  };
  const chat: ChatFormat = (messages) => messages.map(({ role, content }) => `<${role}>${content}\n`).join('');

  it.each([
    ['x.jsonl', `${JSON.stringify(talk)}\n{"text":" a "}\n{"messages":[]}\n`],
    ['x.json', JSON.stringify([talk, 'a'])],
  ])('gives conversations of %s to the template', (name, text) => {
    expect(readDocuments(text, name, { chat })).toEqual(['<user>Hi\n<assistant>Hello\n', 'a']);
  });

  it.each([
    ['{"messages":"Hi"}', chat, /line 1: "messages" is not a list/],
    ['{"messages":[{"role":"user"}]}', chat, /line 1: message 0 has no string "role", or no "content"/],
    [JSON.stringify(talk), undefined, /line 1: holds a conversation, and texts are needed here/],
    [
      JSON.stringify(talk),
      () => {
        throw new Error('roles must alternate');
      },
      /line 1: roles must alternate/,
    ],
  ])('refuses the conversation %s', (text, format, message) => {
    expect(() => readDocuments(text, 'x.jsonl', { chat: format })).toThrow(message);
  });

  it.each(['[1] A footnote.', '{curly} words', '[Music]\nla la', '{', '[1]\n[2]'])('takes %j for prose', (text) => {
    expect(readDocuments(text, 'x.txt')).toEqual([text]);
  });
});
