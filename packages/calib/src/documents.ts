import { CalibrationError } from '@q/core';

const separator = '<|endoftext|>';

/** Splits a text at lines that are `<|endoftext|>`; trims each document and drops empty ones. */
export function splitDocuments(text: string): string[] {
  const documents: string[] = [];
  let lines: string[] = [];
  const flush = () => {
    const document = lines.join('\n').trim();
    if (document) documents.push(document);
    lines = [];
  };
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === separator) flush();
    else lines.push(line);
  }
  flush();
  return documents;
}

/**
 * Documents of a text file of any of the kinds that calibration text comes in, by its name and by what it holds: JSON Lines
 * (`.jsonl`, `.ndjson`, in any case), a JSON list of objects or strings (`.json`), JSON Lines under the name `.json`, or text. What is
 * JSON under another name is refused: as text, its braces and keys would be learnt from.
 * @param text of the file
 * @param name of the file, for its ending and for messages
 * @param field that holds the text of an object
 * @throws CalibrationError naming the file, and the line or entry
 */
export function readDocuments(text: string, name: string, field = 'text'): string[] {
  const content = text.startsWith('\uFEFF') ? text.slice(1) : text;
  if (/\.(jsonl|ndjson)$/i.test(name)) return jsonlDocuments(content, field, name);
  if (/\.json$/i.test(name)) return jsonDocuments(content, field, name);
  const kind = jsonKind(content);
  if (kind)
    throw new CalibrationError(
      `${name}: holds ${kind}, and would be read as text with its braces and keys: ${kind === 'JSON Lines' ? 'name it .jsonl' : 'name it .json, or give its text alone'}`,
    );
  return splitDocuments(content);
}

/** What a text is when it is JSON; prose that begins with a bracket is not. */
function jsonKind(text: string): 'JSON' | 'JSON Lines' | undefined {
  const start = text.trimStart();
  if (!/^[{[]/.test(start)) return undefined;
  const [line, next] = start.split(/\r?\n/, 2);
  if (isRecords(parsed(line))) return next?.trim() ? 'JSON Lines' : 'JSON';
  return isRecords(parsed(start)) ? 'JSON' : undefined;
}

/** An object, or a list that begins with an object or a string: `[1]` is a footnote. */
const isRecords = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (!Array.isArray(value) || ['object', 'string'].includes(typeof value[0]));

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Documents of a JSON list, or of JSON Lines that are called `.json`. */
function jsonDocuments(text: string, field: string, name: string): string[] {
  const value = parsed(text);
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      const document = typeof item === 'string' ? item : (item as Record<string, unknown> | null)?.[field];
      if (typeof document !== 'string')
        throw new CalibrationError(`${name}, entry ${index}: is no string and has no string ${JSON.stringify(field)}`);
      return document.trim() ? [document.trim()] : [];
    });
  }
  const [first] = text.trimStart().split(/\r?\n/, 1);
  if (isRecords(parsed(first))) return jsonlDocuments(text, field, name);
  throw new CalibrationError(
    `${name}: is not a JSON list of objects with ${JSON.stringify(field)}, nor one such object a line`,
  );
}

/**
 * Documents of a JSON Lines text, one object a line with the text in `field`.
 * @throws CalibrationError naming the line that is not such an object
 */
export function jsonlDocuments(text: string, field = 'text', name = 'the file'): string[] {
  const documents: string[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (!line.trim()) continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new CalibrationError(`${name}, line ${index + 1}: is not JSON`);
    }
    const document = (value as Record<string, unknown> | null)?.[field];
    if (typeof document !== 'string')
      throw new CalibrationError(`${name}, line ${index + 1}: has no string ${JSON.stringify(field)}`);
    if (document.trim()) documents.push(document.trim());
  }
  return documents;
}
