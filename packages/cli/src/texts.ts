import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cutWindows, readDocuments, readTokenStream, readU16Windows, type Windows } from '@q/calib';
import { CalibrationError, FormatError, type ProgressEvent, type Random } from '@q/core';
import { loadTokenizer, type Tokenizer } from '@q/models';
import { UsageError } from './usage-error.js';

/** `--calib` for text that the model writes itself. */
export const ownText = 'self';

export interface WindowRequest {
  /** Text, JSON Lines (`.jsonl`, `.ndjson`), a JSON list (`.json`) or little-endian 16-bit ids (`.u16`). */
  readonly path: string;
  readonly length: number;
  /** Windows wanted; all when absent. */
  readonly count?: number;
  readonly skip?: number;
  readonly shuffle?: Random;
  /** Told how far the text is tokenized, when that takes long. */
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
}

/** The windows of a file, tokenized with the tokenizer of the model folder. */
export async function loadWindows(model: string, request: WindowRequest): Promise<Windows> {
  const { path, length, count, skip = 0, shuffle, progress, signal } = request;
  const bytes = await readFile(path).catch((error) => {
    throw new UsageError(`${path}: the text cannot be read (${error.code ?? error.message})`);
  });
  if (/\.u16$/i.test(path)) {
    const all = readU16Windows(bytes, length, path);
    return cutWindows(all.ids, length, { count, skip, shuffle, name: path });
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new CalibrationError(`${path}: is not UTF-8 text: give text, JSON Lines or a .u16 file of token ids`);
  }
  const documents = readDocuments(text, path);
  if (documents.length === 0) throw new CalibrationError(`${path}: is empty: text is needed`);
  const tokenizer = await openTokenizer(model);
  const limit = count === undefined || shuffle ? undefined : (skip + count) * length;
  const ids = await readTokenStream(documents, tokenizer, { limit, progress, signal });
  return cutWindows(ids, length, { count, skip, shuffle, name: path });
}

/** The tokenizer of a model folder. */
async function openTokenizer(model: string): Promise<Tokenizer> {
  const tokenizer = await readJson(join(model, 'tokenizer.json'));
  if (!tokenizer)
    throw new FormatError(
      `${join(model, 'tokenizer.json')}: does not exist: text cannot be tokenized; give a .u16 file of token ids`,
    );
  return loadTokenizer({
    tokenizer,
    config: (await readJson(join(model, 'tokenizer_config.json'))) ?? {},
    model: (await readJson(join(model, 'config.json'))) ?? {},
  });
}

async function readJson(path: string): Promise<object | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FormatError(`${path}: is not valid JSON (${(error as Error).message})`);
  }
}
