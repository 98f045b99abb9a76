import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cutWindows, splitDocuments, tokenStream, type Windows } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import { loadTokenizer } from '@q/models';

/** Tokens of a window. */
const length = 256;

/** Windows of a text as a model's tokenizer reads it: the first ones for calibration, and the next ones for scoring. */
export interface ConsecutiveWindows {
  readonly calibration: Windows;
  readonly heldOut: Windows;
  readonly vocabularySize: number;
}

/**
 * Cuts windows of 256 tokens.
 * @param model folder of the model
 * @param text file of plain text
 */
export async function consecutiveWindows(
  model: string,
  text: string,
  counts: { readonly calibration: number; readonly heldOut: number },
): Promise<ConsecutiveWindows> {
  const json = async (name: string) => JSON.parse(await readFile(join(model, name), 'utf8'));
  const checkpoint = await openCheckpoint(model, []);
  const { config } = checkpoint;
  await checkpoint.close();
  const tokenizer = loadTokenizer({
    tokenizer: await json('tokenizer.json'),
    config: await json('tokenizer_config.json'),
    model: config,
  });
  const limit = (counts.calibration + counts.heldOut) * length;
  const stream = tokenStream(splitDocuments(await readFile(text, 'utf8')), tokenizer, { limit, window: length });
  const cut = (skip: number, count: number) => cutWindows(stream, length, { skip, count, name: text });
  return {
    calibration: cut(0, counts.calibration),
    heldOut: cut(counts.calibration, counts.heldOut),
    vocabularySize: Number(config.vocab_size),
  };
}
