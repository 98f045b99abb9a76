import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { FormatError } from '@q/core';
import type { FileOptions } from './file-system.js';
import { nodeFiles } from './node-files.js';
import { writeError } from './write-error.js';

/** A JSON object, one line of a log. */
export type LogLine = Readonly<Record<string, unknown>>;

/**
 * A file of JSON lines, each with its checksum, that records what a run has finished. A line is appended and synced; if
 * a crash leaves the last line incomplete, reading drops it.
 */
export interface LineLog {
  /** Lines that existed when the log was opened. */
  readonly lines: readonly LogLine[];
  /** The line is on the disk when this resolves. */
  append(line: LogLine): Promise<void>;
  close(): Promise<void>;
}

const ending = /,"sum":"([0-9a-f]{16})"\}$/;
const lineSum = (json: string) => createHash('sha256').update(json).digest('hex').slice(0, 16);

/** Reads a line; undefined when it is not a line of a log. */
function parseLine(text: string): LogLine | undefined {
  const [, sum] = ending.exec(text) ?? [];
  if (!sum) return undefined;
  const json = `${text.replace(ending, '')}}`;
  return lineSum(json) === sum ? JSON.parse(json) : undefined;
}

function writeLine(line: LogLine): Uint8Array {
  const json = JSON.stringify(line);
  return new TextEncoder().encode(`${json.slice(0, -1)},"sum":"${lineSum(json)}"}\n`);
}

/**
 * The lines of a log, without opening it for writing; none when there is no file.
 * @throws FormatError naming the file and the line that is damaged
 */
export async function readLineLog(path: string, options: FileOptions = {}): Promise<readonly LogLine[]> {
  return (await parseLog(path, options)).lines;
}

async function parseLog(
  path: string,
  { files = nodeFiles }: FileOptions,
): Promise<{ readonly lines: readonly LogLine[]; readonly bytes: number }> {
  const text = new TextDecoder().decode((await files.readFile(path)) ?? new Uint8Array(0));
  const whole = text.split('\n').slice(0, -1);
  const lines: LogLine[] = [];
  let bytes = 0;
  for (const [index, each] of whole.entries()) {
    const line = parseLine(each);
    if (!line) {
      // The last line may never have been synced. An earlier line was, so someone has changed or damaged the file.
      if (index === whole.length - 1) break;
      throw new FormatError(
        `${path}: line ${index + 1} is damaged: restore the file, or remove it, with the output folder of its run, and start again`,
      );
    }
    lines.push(line);
    bytes += new TextEncoder().encode(each).length + 1;
  }
  return { lines, bytes };
}

/**
 * Opens a log to append to it, or creates it with `first` as its first line.
 * @throws FormatError naming the damaged line; WriteError
 */
export async function openLineLog(path: string, first: LogLine, options: FileOptions = {}): Promise<LineLog> {
  const { files = nodeFiles } = options;
  const found = await parseLog(path, options);
  const isNew = found.lines.length === 0;
  const failed = (error: unknown) => Promise.reject(writeError(path, error));
  const file = await files.open(path, isNew ? 'create' : 'update').catch(failed);
  let position = found.bytes;
  const append = async (line: LogLine) => {
    const bytes = writeLine(line);
    await file.write(bytes, position).catch(failed);
    await file.sync().catch(failed);
    position += bytes.length;
  };
  try {
    if (isNew) {
      position = 0;
      await append(first);
      await files.syncFolder(dirname(path)).catch(failed);
    } else if ((await file.size()) > position) {
      await file.truncate(position).catch(failed);
      await file.sync().catch(failed);
    }
  } catch (error) {
    await file.close().catch(() => {});
    throw error;
  }
  return { lines: isNew ? [first] : found.lines, append, close: () => file.close() };
}
