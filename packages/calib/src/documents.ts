import { CalibrationError } from '@q/core';

const separator = '<|endoftext|>';

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: string;
  /** Text, or parts as the template of a model wants them. */
  readonly content: unknown;
}

/** The text of a conversation, as the chat template of a model writes it. */
export type ChatFormat = (messages: readonly ChatMessage[]) => string;

export interface DocumentOptions {
  /** Member of an object that holds its text; `text` when absent. */
  readonly field?: string;
  /** Writes objects that have `messages` instead of a text; without it they are refused. */
  readonly chat?: ChatFormat;
}

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
 * An object holds a text, or a conversation in `messages`.
 * @param text of the file
 * @param name of the file, for its ending and for messages
 * @throws CalibrationError naming the file, and the line or entry
 */
export function readDocuments(text: string, name: string, options: DocumentOptions = {}): string[] {
  const content = text.startsWith('\uFEFF') ? text.slice(1) : text;
  if (/\.(jsonl|ndjson)$/i.test(name)) return jsonlDocuments(content, options.field, name, options.chat);
  if (/\.json$/i.test(name)) return jsonDocuments(content, name, options);
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
function jsonDocuments(text: string, name: string, options: DocumentOptions): string[] {
  const value = parsed(text);
  if (Array.isArray(value)) {
    return value.flatMap((item, index) =>
      typeof item === 'string' ? nonEmpty(item.trim()) : recordDocument(item, `${name}, entry ${index}`, options),
    );
  }
  const [first] = text.trimStart().split(/\r?\n/, 1);
  if (isRecords(parsed(first))) return jsonlDocuments(text, options.field, name, options.chat);
  throw new CalibrationError(
    `${name}: is not a JSON list of objects with ${JSON.stringify(options.field ?? 'text')}, nor one such object a line`,
  );
}

/**
 * Documents of a JSON Lines text, one object a line with the text in `field`, or a conversation in `messages`.
 * @throws CalibrationError naming the line that is not such an object
 */
export function jsonlDocuments(text: string, field = 'text', name = 'the file', chat?: ChatFormat): string[] {
  return text.split(/\r?\n/).flatMap((line, index) => {
    if (!line.trim()) return [];
    const where = `${name}, line ${index + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new CalibrationError(`${where}: is not JSON`);
    }
    return recordDocument(value, where, { field, chat });
  });
}

function recordDocument(value: unknown, where: string, { field = 'text', chat }: DocumentOptions): string[] {
  const record = value as Record<string, unknown> | null;
  const text = record?.[field];
  if (typeof text === 'string') return nonEmpty(text.trim());
  if (record?.messages === undefined)
    throw new CalibrationError(`${where}: has no string ${JSON.stringify(field)} and no list "messages"`);
  const messages = checkedMessages(record.messages, where);
  if (!chat) throw new CalibrationError(`${where}: holds a conversation, and texts are needed here`);
  try {
    // Blanks at its ends are part of a conversation: the template has put them there.
    return messages.length > 0 ? nonEmpty(chat(messages)) : [];
  } catch (error) {
    throw new CalibrationError(`${where}: ${(error as Error).message}`);
  }
}

function checkedMessages(messages: unknown, where: string): readonly ChatMessage[] {
  if (!Array.isArray(messages)) throw new CalibrationError(`${where}: "messages" is not a list`);
  for (const [index, message] of messages.entries())
    if (typeof message?.role !== 'string' || message.content === undefined)
      throw new CalibrationError(`${where}: message ${index} has no string "role", or no "content"`);
  return messages;
}

const nonEmpty = (document: string): string[] => (document.trim() ? [document] : []);
