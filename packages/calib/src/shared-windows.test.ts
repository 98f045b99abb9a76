import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadTokenizer } from '@q/models';
import { describe, expect, it } from 'vitest';
import { splitDocuments } from './documents.js';
import { tokenStream } from './token-stream.js';
import { cutWindows, readU16Windows } from './windows.js';

const shared = process.env.QUANT_SHARED as string;

describe.skipIf(!shared).each(['llama-5m', 'gpt2-3m', 'opt-3m'])('windows of %s', (name) => {
  it.each([
    { text: 'tinystories-train.txt', ids: 'calib-128x256.u16', count: 128 },
    { text: 'tinystories-valid.txt', ids: 'valid-60x256.u16', count: 60 },
  ])('from $text are the given ones, id by id', async ({ text, ids, count }) => {
    const folder = join(shared, 'models', name);
    const json = async (file: string) => JSON.parse(await readFile(join(folder, file), 'utf8'));
    const tokenizer = loadTokenizer({
      tokenizer: await json('tokenizer.json'),
      config: await json('tokenizer_config.json'),
      model: await json('config.json'),
    });
    const documents = splitDocuments(await readFile(join(shared, 'data', 'text', text), 'utf8'));
    // They were cut with a token before every document, which these tokenizers themselves do not put there.
    const opening = [tokenizer.bosId as number];
    const windows = cutWindows(tokenStream(documents, { ...tokenizer, opening }, { limit: count * 256 }), 256, {
      count,
    });
    expect(windows).toEqual(readU16Windows(await readFile(join(folder, ids)), 256));
  });
});
