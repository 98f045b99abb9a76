import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError } from '@q/core';
import { createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { readLlama2c } from './llama2c-container.js';
import { readLlama2cTokenizer, type ScoredPieces } from './llama2c-tokenizer.js';
import { sharedFolder } from './shared-model.js';
import { measureStories, openTokenizer, readStories, storiesReference, withConverted } from './stories.js';

/** SentencePiece's own rule, on scores and not on merges: join the pair whose whole scores highest, leftmost first. */
function encodeByScore(text: string, { pieces, scores }: ScoredPieces): number[] {
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  let tokens = [...` ${text}`];
  for (;;) {
    let best = -1;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const id = ids.get(tokens[i]! + tokens[i + 1]!);
      if (id === undefined) continue;
      const score = scores[id]!;
      if (best === -1 || score > scores[ids.get(tokens[best]! + tokens[best + 1]!)!]!) best = i;
    }
    if (best === -1) break;
    tokens = tokens.toSpliced(best, 2, tokens[best]! + tokens[best + 1]!);
  }
  return tokens.flatMap((token) => ids.get(token) ?? [...new TextEncoder().encode(token)].map((byte) => byte + 3));
}

describe('a llama2.c container', () => {
  const data = sharedFolder('data');
  describe.skipIf(!data)('', () => {
    it('converted, has the perplexity that its source has', async () => {
      const engine = await createEngine({ backend: 'wasm' });
      const stories = await readStories(data!);
      expect(stories.length).toBe(storiesReference.stories);
      const figures = await withConverted(data!, (folder) => measureStories(engine, folder, stories));
      expect(figures.perplexity).toBeCloseTo(storiesReference.perplexity, 3);
      await engine.dispose();
    });

    it('has the token ids of SentencePiece', async () => {
      const pieces = readLlama2cTokenizer(await readFile(join(data!, 'stories260k', 'tok512.bin')), 512);
      const stories = await readStories(data!);
      await withConverted(data!, async (folder) => {
        const tokenizer = await openTokenizer(folder);
        expect(tokenizer.bosId).toBe(1);
        for (const text of [...stories.slice(0, 40), 'Zoë drank 3 cafés — «why?» 🦙\n']) {
          expect(tokenizer.encode(text)).toEqual(encodeByScore(text, pieces));
          expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
        }
      });
    });

    it('that is cut short is refused', async () => {
      const folder = join(data!, 'stories260k');
      const model = await readFile(join(folder, 'stories260K.bin'));
      expect(() => readLlama2c(model.subarray(0, -4))).toThrow(FormatError);
      expect(() => readLlama2c(Buffer.concat([model, Buffer.alloc(4)]))).toThrow(/its header says/);
      const tokenizer = await readFile(join(folder, 'tok512.bin'));
      expect(() => readLlama2cTokenizer(tokenizer.subarray(0, -1), 512)).toThrow(/ends inside piece 511/);
      expect(() => readLlama2cTokenizer(tokenizer, 513)).toThrow(/has 512 pieces/);
    });
  });
});
