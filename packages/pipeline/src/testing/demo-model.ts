import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cutWindows, splitDocuments, tokenStream, type Windows } from '@q/calib';
import { loadTokenizer } from '@q/models';

const demo = fileURLToPath(new URL('../../../cli/demo/', import.meta.url));

/** Folder of the embedded model. */
export const demoModel = join(demo, 'model');

/** The first windows of the embedded calibration text. */
export async function demoWindows(length: number, count: number): Promise<Windows> {
  const json = async (name: string) => JSON.parse(await readFile(join(demoModel, name), 'utf8'));
  const tokenizer = loadTokenizer({
    tokenizer: await json('tokenizer.json'),
    config: await json('tokenizer_config.json'),
    model: await json('config.json'),
  });
  const text = await readFile(join(demo, 'text/calibration.txt'), 'utf8');
  return cutWindows(tokenStream(splitDocuments(text), tokenizer), length, { count });
}
