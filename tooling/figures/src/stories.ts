import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { forward, loadTokenizer, type Tokenizer } from '@q/models';
import type { TfjsEngine } from '@q/tfjs';
import { convertLlama2c } from './convert-llama2c.js';
import { loadFolder, negativeLogLikelihood, readJson } from './shared-model.js';

/** Perplexity of stories260K on the stories on which its source's figure was measured, in f64 (SOURCES.md). */
export const storiesReference = { stories: 300, longest: 512, perplexity: 4.482 };

export interface StoriesFigures {
  readonly perplexity: number;
  readonly tokens: number;
}

/** The first stories of tinystories-train.txt, in order. */
export async function readStories(data: string): Promise<string[]> {
  const text = await readFile(join(data, 'text', 'tinystories-train.txt'), 'utf8');
  const stories = text.split('<|endoftext|>').map((story) => story.trim());
  return stories.filter((story) => story !== '').slice(0, storiesReference.stories);
}

/** Converts stories260K into a temporary folder, and removes it after `use`. */
export async function withConverted<R>(data: string, use: (folder: string) => Promise<R>): Promise<R> {
  const folder = await mkdtemp(join(tmpdir(), 'stories260k-'));
  try {
    const source = join(data, 'stories260k');
    await convertLlama2c(join(source, 'stories260K.bin'), join(source, 'tok512.bin'), folder);
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export async function openTokenizer(folder: string): Promise<Tokenizer> {
  return loadTokenizer({
    tokenizer: await readJson(folder, 'tokenizer.json'),
    config: await readJson(folder, 'tokenizer_config.json'),
  });
}

/** Scores each story after BOS in a separate context, cut at 512 tokens. Returns the mean over all predicted tokens. */
export async function measureStories(
  engine: TfjsEngine,
  folder: string,
  stories: readonly string[],
): Promise<StoriesFigures> {
  const { ops } = engine;
  const loaded = await loadFolder(ops, folder);
  const tokenizer = await openTokenizer(folder);
  const { vocabularySize } = loaded.model;
  let [sum, tokens] = [0, 0];
  for (const story of stories) {
    const ids = Int32Array.from([tokenizer.bosId!, ...tokenizer.encode(story)].slice(0, storiesReference.longest));
    const handle = forward(loaded.model, loaded.runtime, ids, 1, ids.length);
    const logits = await ops.data(handle);
    ops.dispose(handle);
    for (let position = 1; position < ids.length; position++) {
      sum += negativeLogLikelihood(logits, (position - 1) * vocabularySize, vocabularySize, ids[position]!);
      tokens++;
    }
  }
  loaded.dispose();
  return { perplexity: Math.exp(sum / tokens), tokens };
}
