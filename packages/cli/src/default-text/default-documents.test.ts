import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { defaultDocuments } from './default-documents.js';

const documents = defaultDocuments();

it('is the same text everywhere', () => {
  expect(createHash('sha256').update(documents.join('\0')).digest('hex')).toBe(
    'd1121ff8cbf2e80530189e9826787a67e7da60fceadb71fc7e5ceb89189d6790',
  );
});

it('has its size, and no slot is left in it', () => {
  const bytes = new TextEncoder().encode(documents.join('\n')).length;
  expect(bytes).toBeGreaterThan(190_000);
  expect(bytes).toBeLessThan(230_000);
  expect(documents.filter((document) => /\{#\d+-|\{\^/.test(document))).toEqual([]);
  expect(new Set(documents).size).toBe(documents.length);
});

it.each([
  ['German', /[äöüß]\w* /],
  ['Russian', /[а-я]{4}/],
  ['Chinese', /[\u4e00-\u9fff]{4}/],
  ['programs', /def \w+\(/],
  ['markup', /<ul>/],
  ['conversations', /Assistant: /],
])('has %s in its first fifth', (_, sign) => {
  expect(documents.slice(0, documents.length / 5).some((document) => sign.test(document))).toBe(true);
});
