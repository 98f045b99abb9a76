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
