import { readFile } from 'node:fs/promises';
import { createRandom } from '@q/core';
import { loadTokenizer } from '@q/models';
import { describe, expect, it } from 'vitest';
import { trainTokenizer } from './byte-pair-encoding.js';
import { corpus } from './corpus.js';

const demo = new URL('../../../packages/cli/demo/', import.meta.url);

describe('the generated corpus', () => {
  it('is decided by its seed and never says the same twice', () => {
    const text = corpus(createRandom('a'), 50);
    expect(corpus(createRandom('a'), 50)).toBe(text);
    expect(corpus(createRandom('b'), 50)).not.toBe(text);
    const stories = text.split('<|endoftext|>').map((story) => story.trim());
    expect(new Set(stories).size).toBe(stories.length);
  });

  it('keeps held-out text apart from the calibration text', async () => {
    const read = async (name: string) => (await readFile(new URL(`text/${name}`, demo), 'utf8')).split('<|endoftext|>');
    const calibration = new Set((await read('calibration.txt')).map((story) => story.trim()).filter(Boolean));
    const shared = (await read('held-out.txt')).map((story) => story.trim()).filter((story) => calibration.has(story));
    expect(shared).toEqual([]);
  });
});

describe('the trained tokenizer', () => {
  it('gives back every text it was given, and fewer tokens than bytes', () => {
    const text = corpus(createRandom('tokenizer'), 200);
    const tokenizer = loadTokenizer({
      tokenizer: trainTokenizer(text, 400, '<|endoftext|>'),
      config: {},
      model: {},
    });
    for (const sample of [text.slice(0, 2000), 'Ünïcode — 漢字 🙂\n\ttabs', 'Anna Anna Anna']) {
      expect(tokenizer.decode(tokenizer.encode(sample))).toBe(sample);
    }
    expect(tokenizer.encode(text.slice(0, 10_000)).length).toBeLessThan(5000);
  });
});
