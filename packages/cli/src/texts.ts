import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import {
  type ChatFormat,
  cutWindows,
  readDocuments,
  readTokenStream,
  readU16Windows,
  readU32Windows,
  textLines,
  textSequences,
  type Windows,
} from '@q/calib';
import { openModelFiles } from '@q/checkpoint';
import { CalibrationError, FormatError, type ProgressEvent, type Random } from '@q/core';
import { loadTokenizer, type Tokenizer } from '@q/models';
import { openChatTemplate } from './chat-template.js';
import { UsageError } from './usage-error.js';

/** `--calib` for text that the model writes itself. */
export const ownText = 'self';

/** `--calib` for the text that comes with the command. */
export const defaultText = 'default';

/** The note when a method calibrates on it by default. */
export const defaultTextNote =
  'no --calib was given: the text that comes with q calibrates the linears; text similar to the later input may give a better model';

export interface WindowRequest {
  /**
   * {@link defaultText}, or a file: text, JSON Lines (`.jsonl`, `.ndjson`), a JSON list (`.json`), both of texts or of
   * conversations, or little-endian ids of 16 or 32 bits (`.u16`, `.u32`).
   */
  readonly path: string;
  readonly length: number;
  /** Number of windows; all when absent. */
  readonly count?: number;
  readonly skip?: number;
  readonly shuffle?: Random;
  /** Called with the progress of the tokenization, when that takes long. */
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
  /** One sequence a line, for encoders, instead of windows: as many as have `count * length` tokens. */
  readonly sequences?: boolean;
}

/** Readers of files of token ids, by extension. */
const idReaders = new Map([
  ['.u16', readU16Windows],
  ['.u32', readU32Windows],
]);

/** The windows of a file, tokenized with the tokenizer of the model folder. */
export async function loadWindows(model: string, request: WindowRequest): Promise<Windows> {
  const { path, length, count, skip = 0, shuffle, sequences, progress, signal } = request;
  const read = path === defaultText ? undefined : await readText(path);
  const readIds = idReaders.get(extname(path).toLowerCase());
  if (read && readIds) {
    const all = readIds(read, length, path);
    return cutWindows(all.ids, length, { count, skip, shuffle, name: path });
  }
  const tokenizer = await openTokenizer(model);
  const documents = read ? await fileDocuments(path, read, model, tokenizer) : await builtInDocuments();
  if (sequences) {
    const lines = shuffled(textLines(documents), shuffle);
    return textSequences(enough(lines, tokenizer, length, count), tokenizer, length, path);
  }
  const limit = count === undefined || shuffle ? undefined : (skip + count) * length;
  const ids = await readTokenStream(documents, tokenizer, { limit, window: length, progress, signal });
  return cutWindows(ids, length, { count, skip, shuffle, name: path });
}

/** Lines until they have as many tokens as the windows would have; all if no number is given. */
function enough(
  lines: readonly string[],
  tokenizer: Tokenizer,
  length: number,
  count: number | undefined,
): readonly string[] {
  if (count === undefined) return lines;
  const framed = tokenizer.opening.length + tokenizer.closing.length;
  let tokens = 0;
  const end = lines.findIndex((line) => {
    tokens += Math.min(length, tokenizer.encode(line).length + framed);
    return tokens >= count * length;
  });
  return end < 0 ? lines : lines.slice(0, end + 1);
}

function shuffled(lines: readonly string[], random: Random | undefined): readonly string[] {
  if (!random) return lines;
  const order = [...lines];
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

async function readText(path: string): Promise<Buffer> {
  return readFile(path).catch((error) => {
    throw new UsageError(`${path}: the text cannot be read (${error.code ?? error.message})`);
  });
}

async function builtInDocuments(): Promise<readonly string[]> {
  const { defaultDocuments } = await import('./default-text/default-documents.js');
  return defaultDocuments();
}

/** The documents of a file; the model's template turns conversations into text. */
async function fileDocuments(
  path: string,
  bytes: Buffer,
  model: string,
  { bosId, opening }: Tokenizer,
): Promise<readonly string[]> {
  const chat = bytes.includes('"messages"') && /\.(jsonl|ndjson|json)$/i.test(path);
  const framed = bosId !== undefined && opening.includes(bosId);
  return parseDocuments(path, bytes, chat ? await chatFormat(model, framed) : undefined);
}

/** The template of a model; a missing one is an error only for a conversation. */
async function chatFormat(model: string, framed: boolean): Promise<ChatFormat> {
  try {
    return await openChatTemplate(model, framed);
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/**
 * The documents of a text or JSON Lines file.
 * @param chat writes conversations; they are refused when it is absent
 */
export function parseDocuments(path: string, bytes: Uint8Array, chat?: ChatFormat): readonly string[] {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new CalibrationError(`${path}: is not UTF-8 text: give text, JSON Lines or a .u16 or .u32 file of token ids`);
  }
  const documents = readDocuments(text, path, { chat });
  if (documents.length === 0) throw new CalibrationError(`${path}: is empty: text is needed`);
  return documents;
}

/** The text of a file of a model; undefined if there is no such file. */
export const readModelText = async (model: string, name: string): Promise<string | undefined> =>
  (await openModelFiles(model)).text(name);

/** The object in a JSON file of a model; undefined if there is no such file. */
export const readModelJson = async (model: string, name: string): Promise<Record<string, unknown> | undefined> =>
  (await (await openModelFiles(model)).json(name)) as Record<string, unknown> | undefined;

/** The tokenizer of a model folder or a GGUF file. */
export async function openTokenizer(model: string): Promise<Tokenizer> {
  const files = await openModelFiles(model);
  const tokenizer = await files.json('tokenizer.json');
  if (!tokenizer)
    throw new FormatError(
      `${files.where('tokenizer.json')}: does not exist: text cannot be tokenized; give a .u16 file of token ids`,
    );
  return loadTokenizer({
    tokenizer,
    config: (await files.json('tokenizer_config.json')) ?? {},
    model: (await files.json('config.json')) ?? {},
  });
}

/** Tokens that the tokenizer of a model puts before a text; none if the model has no tokenizer. */
export async function textOpening(model: string): Promise<readonly number[]> {
  const has = await (await openModelFiles(model)).json('tokenizer.json');
  return has ? (await openTokenizer(model)).opening : [];
}
