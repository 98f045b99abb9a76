import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Windows } from '@q/calib';
import { consecutiveWindows } from '@q/figures/consecutive-windows';

const run = promisify(execFile);

/**
 * Folder of a published model: in the folder of `QUANT_REAL`, else in the cache, to which the script of `QUANT_SHARED`
 * downloads it on first use. Undefined, with a printed reason, if neither is possible.
 */
async function realModel(name: string): Promise<string | undefined> {
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

/** A published model with windows of token ids of WikiText-2. */
export interface ModelWithWindows {
  /** Its folder. */
  readonly model: string;
  /** File of 128 windows for calibration. */
  readonly calib: string;
  /** File of the next 40 windows. */
  readonly heldOut: string;
}

/**
 * A published model, with windows of 256 token ids that are written to a folder. Ids have 16 bits (`.u16`), or 32 bits
 * (`.u32`) if the tokenizer has more than 65,536 tokens. Undefined, with a printed reason, if the model or the text
 * cannot be had.
 */
export async function modelWithWindows(name: string, folder: string): Promise<ModelWithWindows | undefined> {
  const shared = process.env.QUANT_SHARED;
  const model = await realModel(name);
  if (!model) return undefined;
  if (!shared) {
    console.log(`  left out: ${name}: QUANT_SHARED does not name the folder with WikiText-2`);
    return undefined;
  }
  const text = join(shared, 'data/text/wikitext-2-raw-test.txt');
  const counts = { calibration: 128, heldOut: 40 };
  const { calibration, heldOut, vocabularySize } = await consecutiveWindows(model, text, counts);
  const wide = vocabularySize > 65_536;
  await mkdir(folder, { recursive: true });
  const write = async (part: string, { ids }: Windows) => {
    const path = join(folder, `${part}.${wide ? 'u32' : 'u16'}`);
    await writeFile(path, wide ? Uint32Array.from(ids) : Uint16Array.from(ids));
    return path;
  };
  return { model, calib: await write('calib-128x256', calibration), heldOut: await write('held-out', heldOut) };
}
