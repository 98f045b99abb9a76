import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
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
  const { calibration, heldOut, vocabularySize } = await consecutiveWindows(model, text, counts);
  const wide = vocabularySize > 65_536;
  const write = async (name: string, { ids }: Windows) => {
    const path = join(folder, `${name}.${wide ? 'u32' : 'u16'}`);
    await writeFile(path, wide ? Uint32Array.from(ids) : Uint16Array.from(ids));
    return path;
  };
  return { calib: await write('calib-128x256', calibration), heldOut: await write('held-out', heldOut) };
}
