import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cutWindows, splitDocuments, tokenStream, type Windows } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import { loadTokenizer } from '@q/models';

const run = promisify(execFile);

/**
 * Folder of a published model: in the folder of `QUANT_REAL`, else in the cache, to which the script of `QUANT_SHARED`
 * downloads it on first use. Undefined, with a printed reason, if neither is possible.
 */
export async function realModel(name: string): Promise<string | undefined> {
  const { QUANT_REAL: real, QUANT_SHARED: shared, QUANT_CACHE, XDG_CACHE_HOME } = process.env;
  if (real) return join(real, name);
  if (!shared) {
    console.log(`  left out: ${name}: neither QUANT_REAL nor QUANT_SHARED is set to a folder`);
    return undefined;
  }
  const cache = join(QUANT_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'q'), 'real-models');
  try {
    await run('python3', [join(shared, 'real-models', 'fetch'), cache, name], { maxBuffer: 1 << 24 });
    return join(cache, name);
  } catch (error) {
    console.log(`  left out: ${name} cannot be fetched: ${(error as Error).message.trim().split('\n').at(-1)}`);
    return undefined;
  }
}

const length = 256;

/** Files of token ids of two parts of a text. */
export interface WindowFiles {
  readonly calib: string;
  readonly heldOut: string;
}

/**
 * Writes windows of 256 token ids: the first ones of a text for calibration, and the next ones for scoring. Ids have 16
 * bits (`.u16`), or 32 bits (`.u32`) if the tokenizer has more than 65,536 tokens.
 */
export async function writeWindows(
  model: string,
  text: string,
  folder: string,
  counts: { readonly calibration: number; readonly heldOut: number },
): Promise<WindowFiles> {
  const json = async (name: string) => JSON.parse(await readFile(join(model, name), 'utf8'));
  const checkpoint = await openCheckpoint(model, []);
  const { config } = checkpoint;
  await checkpoint.close();
  const tokenizer = loadTokenizer({
    tokenizer: await json('tokenizer.json'),
    config: await json('tokenizer_config.json'),
    model: config,
  });
  const total = counts.calibration + counts.heldOut;
  const documents = splitDocuments(await readFile(text, 'utf8'));
  const stream = tokenStream(documents, tokenizer, { limit: total * length, window: length });
  const wide = Number(config.vocab_size) > 65_536;
  const write = async (name: string, { ids }: Windows) => {
    const path = join(folder, `${name}.${wide ? 'u32' : 'u16'}`);
    await writeFile(path, wide ? Uint32Array.from(ids) : Uint16Array.from(ids));
    return path;
  };
  const cut = (skip: number, count: number) => cutWindows(stream, length, { skip, count, name: text });
  return {
    calib: await write('calib-128x256', cut(0, counts.calibration)),
    heldOut: await write('held-out', cut(counts.calibration, counts.heldOut)),
  };
}
